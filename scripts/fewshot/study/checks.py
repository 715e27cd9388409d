"""The cross-checks of a study that no schema can make: names, files, settings.

Each raises UserError with one line that names the file and the key, what is wrong and what is
valid; all run before the first job.
"""

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.curve_sample import curve_epochs
from ..data.entries import as_list
from ..data.halves import BEST_EPOCH
from ..errors import UserError, unknown
from ..models.architectures import check_config, local_config
from .cell_checks import check_cell
from .cells import read_seeds
from .choice_checks import check_choices
from .families import (
    CONTEXTS,
    DISTILLATION,
    DISTILLING,
    FAMILIES,
    HEADS,
    TRAINING_CHOICES,
    family_of,
    kind_of,
    read_settings,
)
from .figure_needs import check_arms
from .forgetting_checks import check_forgetting, check_texts
from .imports import check_imported
from .start_checks import check_no_cycle, check_start_method
from .task_checks import check_local_files, check_tasks
from .without_model import NONE

if TYPE_CHECKING:
    from .study import Study

# Folders of results/ that all studies share.
RESERVED = (
    *("behaviour", "benchmarks", "bias", "choices", "costs", "data", "embedded", "held-out"),
    *("latency", "logs", "metrics", "models", "outcomes", "raw", "runs", "runs-forgetting"),
    *("runs-held-out", "shots", "state", "statistics", "texts", "unadapted", "windows"),
)


def check_study(study: "Study", where: str, *, archived: bool = False) -> None:
    """Check everything; `where` is the study's file.

    What the runs of an `archived` study were made from need not be here, if the manifests are that
    came with its registries. Of any other study nothing vouches that they are of these entries.
    """
    check_tasks(study)
    check_texts(study)
    _check_methods(study)
    _check_names(study, where)
    _check_study_keys(study, where)
    for cell in study.cells:
        check_cell(study, cell, where)
    check_choices(study, where)
    check_forgetting(study, where, archived)
    for name, entry in study.models.items():
        check_config(entry, f"{study.file('models', name)}: model '{name}'")
    _check_models(study, archived)
    _check_sources(study, archived)
    check_imported(study, where)
    _check_figures(study)


def _check_names(study: "Study", where: str) -> None:
    for block in [study.settings, *study.settings["grid"]]:
        for kind in ("models", "tasks", "methods", "patterns"):
            registry = [name for name in getattr(study, kind) if name != NONE]
            for name in block.get(kind, []):
                if name not in registry:
                    raise unknown(kind[:-1], name, registry, f"{where}: {kind}")


def _check_study_keys(study: "Study", where: str) -> None:
    if study.name in RESERVED:
        raise UserError(
            f"{where}: study: '{study.name}' is reserved: results/{study.name}/ is no study's; "
            f"not valid: {', '.join(RESERVED)}"
        )
    for block in [study.settings, *study.settings["grid"]]:
        if not read_seeds(block.get("seeds", 1)):
            raise UserError(
                f"{where}: seeds: '{block['seeds']}' ends before it begins; valid: first-last, "
                "such as 0-4"
            )
    counts = sorted({cell.k for cell in study.cells})
    if study.main_k not in counts:
        raise UserError(
            f"{where}: main.k: {study.main_k} is in no block of the grid; "
            f"valid: {', '.join(map(str, counts))}"
        )
    _check_selection(study, where)


def _check_selection(study: "Study", where: str) -> None:
    """Check that the checkpoint of the headline is one that the study has."""
    chosen, told = study.settings["main"]["selection"], study.settings["best_epoch"]
    (best,) = (name for name, of in BEST_EPOCH.items() if of == told)
    if BEST_EPOCH.get(chosen, told) != told:
        raise UserError(
            f"{where}: main.selection: {chosen} needs best_epoch: {BEST_EPOCH[chosen]}, and it is "
            f"{told}; valid: last, {best}, best-out-of-domain"
        )
    for task in dict.fromkeys(cell.task for cell in study.cells):
        if chosen == "best-out-of-domain" and not study.out_of_domain(task):
            raise UserError(
                f"{where}: main.selection: {chosen} needs out-of-domain sets, and task '{task}' "
                f"has none; valid: last, {best}"
            )


def _check_methods(study: "Study") -> None:
    check_no_cycle(study)
    for name, settings in study.methods.items():
        where = f"{study.file('methods', name)}: method '{name}'"
        if settings["family"] not in FAMILIES:
            raise unknown("family", settings["family"], FAMILIES, where)
        family = FAMILIES[settings["family"]]
        for key in ("head", *family.settings):
            if key not in settings and not (key == "epochs" and "steps" in settings):
                either = "'epochs' or 'steps'" if key == "epochs" else f"'{key}'"
                raise UserError(f"{where}: {either} is missing for family '{settings['family']}'")
        if family.trains and "epochs" in settings:
            try:
                curve_epochs(settings["curve_epochs"], settings["epochs"])
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        if settings["head"] not in family.heads:
            raise UserError(
                f"{where}: family '{settings['family']}' needs head: {' or '.join(family.heads)}"
            )
        if family.shows_context and "truncate" in settings:
            raise UserError(
                f"{where}: truncate: prompts of in-context learning are never cut; those that do "
                "not fit the window are told apart; leave it out"
            )
        for key in ("shown", "similarity", "cached"):
            if family.shows_context and key in settings and key not in family.settings:
                valid = [name for name, each in FAMILIES.items() if key in each.settings]
                divided = "shown" in family.settings
                how = (
                    "the shots in the order of the draw" if divided else "all shots in one context"
                )
                raise UserError(
                    f"{where}: {key}: family '{settings['family']}' shows {how}; valid for family: "
                    f"{' or '.join(valid)}"
                )
        if family.baseline:
            _check_baseline(settings, where)
        if family.shows_context and "end_token" in settings:
            raise UserError(
                f"{where}: end_token: answers in context end in the pattern's separator; valid for "
                "methods that train; leave it out"
            )
        for key in (*TRAINING_CHOICES, *CONTEXTS, *DISTILLATION):
            if key in settings and not family.trains:
                raise UserError(
                    f"{where}: {key}: family '{settings['family']}' does not train; leave it out"
                )
        if "quantise" in settings and not family.four_bit:
            valid = [name for name, each in FAMILIES.items() if each.four_bit]
            raise UserError(
                f"{where}: quantise: family '{settings['family']}' has the model's weights as they "
                f"are; valid for family: {' or '.join(valid)}"
            )
        for key, value in family.fixed.items():
            if settings.get(key, value) != value:
                valid = ", ".join(map(str, as_list(value))).lower()
                raise UserError(f"{where}: {key}: family '{settings['family']}' has {valid} alone")
        _check_training(read_settings(settings), where)
        _check_contexts(read_settings(settings), where)
        check_start_method(study, settings, where)
        for key in HEADS[settings["head"]]:
            if key not in settings:
                raise UserError(f"{where}: '{key}' is missing for head: {settings['head']}")


def _check_training(read: dict, where: str) -> None:
    """Check that each setting of training has another to act on."""
    losses = read.get("loss", "")
    if read.get("answer_loss") == "sum" and "vocabulary" not in (losses, *losses):
        raise UserError(
            f"{where}: answer_loss: sum is for loss: vocabulary, and loss is "
            f"{losses if isinstance(losses, str) else ', '.join(losses)}; valid: mean"
        )
    if "scale_parameter" in read and read.get("optimizer") != "adafactor":
        raise UserError(
            f"{where}: scale_parameter: only Adafactor scales its rate by a tensor's size; valid "
            "with optimizer: adafactor; leave it out"
        )
    if read.get("optimizer") == "paged-adamw" and "quantise" not in read:
        raise UserError(
            f"{where}: optimizer: paged-adamw is for weights in 4 bits (quantise), beside which "
            "nothing is shared by ZeRO stages; valid: adamw, adafactor"
        )


def _check_contexts(read: dict, where: str) -> None:
    """Check what methods need that train and read the shots in a context too."""
    distils = read.get("loss") in DISTILLING
    if read["head"] != "language-model":
        if distils:
            raise UserError(
                f"{where}: loss: {read['loss']} compares what comes next, which a new "
                f"{read['head']} head does not tell; valid with head: language-model"
            )
        return
    for key in DISTILLATION:
        if distils and key not in read:
            raise UserError(f"{where}: '{key}' is missing for loss: {read['loss']}")
        if not distils and key in read:
            valid = " or ".join(DISTILLING)
            raise UserError(
                f"{where}: {key}: is for context distillation; valid with loss: {valid}"
            )
    if family_of(read).distils and not distils:
        raise UserError(
            f"{where}: loss: family '{read['family']}' is trained by context distillation; valid: "
            f"{' or '.join(DISTILLING)}"
        )
    if family_of(read).distils and read["virtual_tokens"] < 2:
        raise UserError(
            f"{where}: virtual_tokens: the first of family '{read['family']}' is not trained, and "
            "there is no other; valid: 2 or more"
        )
    if distils and not family_of(read).starts_as_base:
        valid = ", ".join(name for name, each in FAMILIES.items() if each.starts_as_base)
        raise UserError(
            f"{where}: loss: {read['loss']} needs a model that starts as the base model, its "
            f"teacher, and family '{read['family']}' does not; valid: {valid}"
        )
    if distils and "epochs" in read and read["rounds"] > read["epochs"]:
        raise UserError(
            f"{where}: rounds: {read['rounds']} cannot be cut from {read['epochs']} epochs; valid: "
            f"{read['epochs']} at most"
        )
    for key in ("unlabelled_rows", "token_dropout", *CONTEXTS):
        # What is cut or drawn anew, and how the shots are read: once, by one of these settings.
        barred = ["truncate", "train_patterns", *([] if key in CONTEXTS else CONTEXTS)]
        for other in barred if key in read else ():
            if other in read:
                raise UserError(f"{where}: {other}: not with '{key}'; leave one of them out")


def _check_baseline(settings: dict, where: str) -> None:
    """Check that a baseline's entry asks for nothing that it does not do."""
    if "truncate" in settings:
        raise UserError(f"{where}: truncate: baselines read every row whole; leave it out")
    if settings.get("classifier", "linear") != "linear":
        raise UserError(
            f"{where}: classifier: '{settings['classifier']}' is trained step by step; valid for a "
            "baseline: linear"
        )


def _check_models(study: "Study", archived: bool) -> None:
    """Check that the folders of local models are there, and what they say of themselves."""
    own = {cell.model for cell in study.own_cells}
    for model in dict.fromkeys(cell.model for cell in study.cells):
        folder = study.models[model].get("local")
        if not folder:
            continue
        where = f"{study.file('models', model)}: model '{model}'"
        there = archived and study.places.at(f"results/models/{model}/manifest.json").exists()
        if model in own and not there and not Path(folder, "config.json").expanduser().is_file():
            raise UserError(f"{where}: no config.json in '{folder}'")
        local_config(folder, where)


def _check_sources(study: "Study", archived: bool) -> None:
    """Check that local files of rows are there, or may be made by rules of another workflow."""
    if study.places.as_module:
        return
    tasks = dict.fromkeys(cell.task for cell in study.cells)
    for name in dict.fromkeys(each for task in tasks for each in study.scored_sets(task)):
        owner = study.source_of(name)
        if archived and study.places.at(f"results/raw/{owner}/manifest.json").exists():
            continue
        where = f"{study.file('tasks', name)}: task '{name}'"
        check_local_files(study.tasks[owner]["source"], where)


def _check_figures(study: "Study") -> None:
    """Check that every figure and table names a function and options that it takes.

    The signatures are read from the source: importing the chart library costs a second.
    """
    kinds = {**_every_kind(), **study.kinds}
    for kind, entries in (("figures", study.figures), ("tables", study.tables)):
        functions = _signatures(Path(__file__).parents[1] / f"report/{kind}/registry.py")
        for name, entry in entries.items():
            where = f"{study.file(kind, name)}: '{name}'"
            if entry["function"] not in functions:
                raise unknown("function", entry["function"], functions, where)
            options = functions[entry["function"]]
            for option in entry["options"]:
                if option not in options:
                    raise unknown("option", option, options, where)
            # Arms that this study lacks are left out (figure_needs.py), a misspelt one too.
            check_arms(entry["options"].get("arms", ()), kinds, f"{where}.arms")


def _every_kind() -> dict[str, dict]:
    """Return the kind of each family and head that a method may have."""
    return {
        f"{name} {head}": {"kind": kind_of({"family": name, "head": head})}
        for name, family in FAMILIES.items()
        for head in family.heads
    }


@cache
def _signatures(path: Path) -> dict[str, list[str]]:
    """Return the entries of a module's registry (its one dict) with their keyword-only arguments.

    The functions stand in the module or in those that it imports from relatively.
    """
    tree = ast.parse(path.read_text("utf-8"))
    modules = {
        alias.name: module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for module in [ast.parse(path.with_name(f"{node.module}.py").read_text("utf-8"))]
        for alias in node.names
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                found[key.value] = _keyword_arguments(modules.get(value.id, tree), value.id)
    return found


def _keyword_arguments(tree: ast.Module, name: str) -> list[str]:
    """Return the keyword-only arguments of a function defined in `tree`."""
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return [
        argument.arg
        for function in functions
        if function.name == name
        for argument in function.args.kwonlyargs
    ]
