"""What each cell of the grid needs: shots that can be drawn and shown, and a fitting pattern."""

from typing import TYPE_CHECKING

from ..data.curve_sample import curve_epochs
from ..data.factors import different_rows
from ..data.folds import LEAVE_ONE_OUT, PREQUENTIAL
from ..errors import UserError, unknown
from ..prompts.patterns import CHANNEL
from .cells import UNBALANCED
from .families import FAMILIES, read_settings
from .start_checks import check_start
from .task_checks import check_draw, check_train, stated_rows
from .without_model import NONE

if TYPE_CHECKING:
    from .study import Cell, Study


def check_cell(study: "Study", cell: "Cell", where: str) -> None:
    """Check what a cell needs: a training split, a method's settings, a balanced k, a pattern.

    Raises UserError with one line, where `where` is the study's file.
    """
    if study.is_imported(cell.method):  # Nothing of it is drawn or run here.
        study.bind(cell.pattern, cell.task)
        return
    if cell.k:
        check_train(study, cell.task, where)
    family = FAMILIES[study.methods[cell.method]["family"]]
    if cell.k == 0 and not family.without_shots:
        how = "shows" if family.shows_context else "trains on"
        how = "is fitted to" if family.baseline else how
        raise UserError(f"{where}: method '{cell.method}' {how} the shots and needs k > 0")
    if "shown" in family.settings:
        _check_shown(study.methods[cell.method], cell, where)
    if study.factors_of(cell.task):
        _check_factors(study, cell, where)
    else:  # With factors that is checked by label.
        balanced = study.draw_of(cell.method) not in UNBALANCED
        check_draw(study, cell.task, cell.k, f"{where}: grid", balanced)
    _check_unlabelled(study, cell)
    study.bind(cell.pattern, cell.task)
    _check_ranking(study, cell, where)
    _check_model(study, cell)
    if "initial_text" in family.settings:
        _check_initial_text(study, cell)
    check_start(study, cell, where)
    _check_training(study, cell, where)
    if study.is_held_out(cell):
        _check_folds(study, cell, where)


def _check_ranking(study: "Study", cell: "Cell", where: str) -> None:
    """Check that the method reads what the pattern ranks by: label words' characters, or texts."""
    rank_by, head = study.patterns[cell.pattern]["rank_by"], study.methods[cell.method]["head"]
    if rank_by == "characters" and head != "language-model":
        raise UserError(
            f"{where}: grid: pattern '{cell.pattern}' ranks by the characters of label words "
            f"(rank_by), and method '{cell.method}' reads none (head: {head}); valid: rank_by: sum "
            "or mean"
        )
    texts = study.scores_texts(cell.pattern)
    family = FAMILIES[study.methods[cell.method]["family"]]
    if texts and not study.uses_context(cell.method):
        raise UserError(
            f"{where}: grid: pattern '{cell.pattern}' scores texts behind label words (rank_by: "
            f"channel), and method '{cell.method}' reads no such prompts; valid: methods in context"
        )
    if texts and "similarity" in family.settings:
        raise UserError(
            f"{where}: grid: pattern '{cell.pattern}' scores texts behind label words (rank_by: "
            f"channel), and method '{cell.method}' shows each row other shots (similarity); valid: "
            "methods with the same contexts for all rows"
        )
    if texts and "chat" in study.models[cell.model]:
        raise UserError(
            f"{where}: grid: pattern '{cell.pattern}' scores texts behind label words (rank_by: "
            f"channel), and model '{cell.model}' answers behind texts (chat in "
            f"{study.file('models', cell.model)}); valid: an entry without 'chat'"
        )


def _check_shown(settings: dict, cell: "Cell", where: str) -> None:
    """Check that k shots can be shown in groups or, behind those that every row has, by row."""
    shown, cached = settings["shown"], settings.get("cached")
    if "cached" not in FAMILIES[settings["family"]].settings:
        if cell.k % shown:
            raise UserError(
                f"{where}: grid: k = {cell.k} cannot be cut into contexts of {shown} shots, as "
                f"method '{cell.method}' has them (shown); valid: multiples of {shown}"
            )
    elif cached + shown > cell.k:
        raise UserError(
            f"{where}: grid: k = {cell.k} is fewer than the {cached} cached shots and {shown} "
            f"others that method '{cell.method}' shows; valid: {cached + shown} or more"
        )


def _check_initial_text(study: "Study", cell: "Cell") -> None:
    """Check that there is a text to start from, and a virtual token for each label word."""
    settings = study.methods[cell.method]
    where = f"{study.file('methods', cell.method)}: method '{cell.method}'"
    texts = study.initial_texts(cell.method, cell.task, cell.pattern)
    if settings["initial_text"] == "label-words" and "chat" in study.models[cell.model]:
        raise UserError(
            f"{where}: initial_text: model '{cell.model}' is prompted by its chat template, which "
            "decides how label words begin; valid: pattern"
        )
    if not all(text.strip() for text in texts):
        raise UserError(
            f"{where}: initial_text: pattern '{cell.pattern}' has no text of its own; valid: "
            "label-words, or another pattern"
        )
    if len(texts) > settings["virtual_tokens"]:
        raise UserError(
            f"{where}: virtual_tokens: {settings['virtual_tokens']} are fewer than the "
            f"{len(texts)} label words of task '{cell.task}' to start from (initial_text); valid: "
            f"{len(texts)} or more"
        )


def _check_training(study: "Study", cell: "Cell", where: str) -> None:
    """Check what k, task and model decide of a method's training: the epochs that its steps make,
    whether its optimiser takes the model's numbers, and the patterns that it trains with."""
    settings = study.cell_settings(cell)
    entry = f"{study.file('methods', cell.method)}: method '{cell.method}'"
    if "steps" in settings:
        try:
            curve_epochs(settings["curve_epochs"], settings["epochs"])
        except UserError as error:
            raise UserError(f"{entry}, with k = {cell.k}: {error}") from None
        if settings.get("rounds", 1) > settings["epochs"]:
            raise UserError(
                f"{entry}: rounds: {settings['rounds']} cannot be cut from the "
                f"{settings['epochs']} epochs of {settings['steps']} steps; valid: "
                f"{settings['epochs']} at most"
            )
    unscaled = settings.get("optimizer") == "adafactor" or "quantise" in settings
    if unscaled and study.models[cell.model]["dtype"] == "float16":
        quantised = "quantise" in settings
        named = f"quantise: {settings['quantise']}" if quantised else "optimizer: adafactor"
        raise UserError(
            f"{entry}: {named} does not scale gradients, as model '{cell.model}' in float16 needs "
            f"it; valid: dtype float32 or bfloat16{'' if quantised else ', or optimizer: adamw'}"
        )
    for name in settings.get("train_patterns", ()):
        at = f"{entry}: train_patterns"
        if name not in study.patterns or name == NONE:
            raise unknown("pattern", name, [n for n in study.patterns if n != NONE], at)
        try:
            bound = study.bind(name, cell.task)
        except UserError as error:
            raise UserError(f"{at}: {error}") from None
        if {bound.rank_by, study.patterns[cell.pattern]["rank_by"]} & {"characters", CHANNEL}:
            raise UserError(
                f"{at}: a loss over words of several patterns cannot rank by characters or channel "
                f"(rank_by of '{name}' or '{cell.pattern}'); valid: sum, mean"
            )


def _check_folds(study: "Study", cell: "Cell", where: str) -> None:
    """Check that a cell's draws can be cut into folds, which are trained on for as many epochs."""
    folds, settings = study.folds_of(cell, where), study.cell_settings(cell)
    if "steps" in settings:
        copies = study.factors_of(cell.task).get("duplicate", 1)
        fewest = cell.k - -(-cell.k // copies // folds) * copies
        if study.cross_validation == PREQUENTIAL:
            fewest = len(study.tasks[cell.task]["labels"])
        whole, part = (-(-rows // settings["batch_size"]) for rows in (cell.k, fewest))
        if whole != part:
            raise UserError(
                f"{where}: cross_validation: method '{cell.method}' trains for a number of steps "
                f"(steps), which with k = {cell.k} is another number of epochs for the {fewest} "
                "shots of a fold; valid: a method with epochs"
            )
    if study.cross_validation == PREQUENTIAL and "duplicate" in study.factors_of(cell.task):
        raise UserError(
            f"{where}: cross_validation: {PREQUENTIAL} scores rows in the order of the draw, and "
            f"task '{cell.task}' has copies of them (duplicate), of which one would tell of the "
            f"other; valid: a number of folds, {LEAVE_ONE_OUT}"
        )


def _check_factors(study: "Study", cell: "Cell", where: str) -> None:
    """Check that the factors of the data go together, and into k shots of the protocol `fair`."""
    if study.settings["protocol"] != "fair":
        raise UserError(
            f"{where}: protocol: '{study.settings['protocol']}' draws as the published code does, "
            f"which has no factors, and task '{cell.task}' has 'draw'; valid: fair"
        )
    if not cell.k:
        return
    at = f"{study.file('tasks', cell.task)}: task '{cell.task}'"
    labels = study.tasks[cell.task]["labels"]
    needed = different_rows(cell.k, len(labels), study.factors_of(cell.task), at)
    _, rows = stated_rows(study.tasks[cell.task], study.tasks, "train") or ("", None)
    if isinstance(rows, dict):
        for label, count in zip(labels, needed, strict=True):
            if count > rows[label]:
                raise UserError(
                    f"{where}: grid: k = {cell.k} needs {count} training rows of label '{label}' "
                    f"of task '{cell.task}', which has {rows[label]}; valid: fewer shots"
                )


def _check_unlabelled(study: "Study", cell: "Cell") -> None:
    """Check that there are as many rows besides the shots as context distillation asks for, as far
    as the task's entry tells them."""
    asked = read_settings(study.methods[cell.method]).get("unlabelled_rows")
    stated = stated_rows(study.tasks[cell.task], study.tasks, "train")
    if not asked or not stated:
        return
    key, rows = stated
    left = (sum(rows.values()) if isinstance(rows, dict) else rows) - cell.k
    if asked > left:
        raise UserError(
            f"{study.file('methods', cell.method)}: method '{cell.method}': unlabelled_rows: "
            f"{asked} are more than the training rows of task '{cell.task}' that are no shots "
            f"({key} in {study.file('tasks', cell.task)}); valid: up to {left}"
        )


def _check_model(study: "Study", cell: "Cell") -> None:
    """Check that the method can adapt the model: that targets are named for its family, and that
    it does not cut off the answer's turn of a chat."""
    method, model = study.methods[cell.method], study.models[cell.model]
    targets = read_settings(method).get("targets")
    if targets is not None and model["family"] not in targets:
        raise UserError(
            f"{study.file('methods', cell.method)}: method '{cell.method}': targets: no entry for "
            f"family '{model['family']}' of model '{cell.model}'; valid: {', '.join(targets)}"
        )
    if "chat" in model and "truncate" in method:
        raise UserError(
            f"{study.file('methods', cell.method)}: method '{cell.method}': truncate: it would "
            f"cut off the turn in which model '{cell.model}' answers (chat in "
            f"{study.file('models', cell.model)}); leave it out"
        )
