"""What a figure or table needs of a study, and the names that pick methods and patterns.

A method can be called by its name or by its kind, which is the same in every study: the demo's
`tiny-pattern-ft` and the paper's `pattern-ft` are both of the kind "pattern-ft". `methods` are here
those of a catalog, or `Study.kinds`: entries with a `kind`. No chart library and no pandas here:
the plan imports this before any job.
"""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..data.halves import BEST_EPOCH
from ..errors import UserError, unknown

if TYPE_CHECKING:
    from .study import Study

WITH_MANIFESTS = ("coverage",)
"""Functions of tables that read the manifests of all runs. In the paper's study these are a
thousand files: half of all edges of its graph, if they were inputs of the other tables too."""
WITH_LATENCY = ("latency",)
"""Functions of figures and tables that read measured latencies."""


def methods_called(name: str, methods: dict[str, dict]) -> list[str]:
    """Return the one method of that name or, if there is none, all methods of that kind."""
    if name in methods:
        return [name]
    return [each for each, entry in methods.items() if entry["kind"] == name]


def any_called(names: Iterable[str], wanted: str) -> bool:
    """Return whether `wanted`, in which * stands for anything, is one of `names`."""
    return any(fnmatchcase(name, wanted) for name in names)


def check_arms(arms: Iterable[str], methods: dict[str, dict], where: str) -> None:
    """Raise UserError for an arm whose method is neither the name nor the kind of any method."""
    valid = dict.fromkeys([*methods, *(entry["kind"] for entry in methods.values())])
    for arm in arms:
        name = str(arm).partition("/")[0]
        if name not in valid:
            raise unknown("method", name, valid, where)


def in_arms(arms: Iterable[str], methods: dict[str, dict], method: str, pattern: str) -> bool:
    """Return whether one of `arms` picks a method with a pattern.

    An arm is "method" or "method/pattern": a name or a kind, and a pattern in which * stands for
    anything.
    """
    for arm in arms:
        name, _, wanted = arm.partition("/")
        if method in methods_called(name, methods) and fnmatchcase(pattern, wanted or "*"):
            return True
    return False


def missing(entry: dict, study: "Study", kind: str = "table") -> str | None:
    """Return the first thing that an entry of config/figures.yaml needs and the study lacks; `kind`
    is "figure" or "table".

    An entry needs what its `needs` lists, the task, evaluation set, family, k and selection that
    its options name, in which * stands for anything, and one of the arms that they name. Tasks,
    sets, families and k narrow the cells that the next need looks at, so that task "rte" and k =
    128 are found in the same cells. A fine-tuned model or a comparison is needed at the k of the
    options, else at the study's main k.
    """
    # Baselines are no model, method or pattern that a figure or table could compare.
    cells = study.compared_cells
    needs, options = entry.get("needs", {}), entry.get("options", {})
    for key, (noun, option, has) in PARTS.items():
        names = [*needs.get(key, []), *([options[option]] if option in options else [])]
        for name in names:
            if not any(has(study, cell, name) for cell in cells):
                return f"{noun} {name!r}"
        if names and key not in ("methods", "patterns"):
            cells = [cell for cell in cells if any(has(study, cell, name) for name in names)]
    if needs.get("choices") and not (found := _chosen_at(study, cells)):
        return "a choice of settings from the shots (key choices)"
    if needs.get("prices") and not options.get("prices"):
        return "a price (config/prices.yaml)"
    if needs.get("latency") and not study.settings.get("latency", {}).get("in_report"):
        return "measured latencies (key latency: {in_report: true})"
    if needs.get("forgetting") and (what := _lacks_forgetting(study, cells, kind)):
        return what
    k = options.get("k", study.main_k)
    for key, lacks in RELATIONS.items():
        if key in needs and (what := lacks(study, cells, needs[key], k)):
            return what
    # A figure of choices shows one number of shots, a table all.
    if needs.get("choices") and kind == "figure" and k not in found:
        return f"a choice of settings from {k} shots (key choices)"
    for column, count in needs.get("at_least", {}).items():
        if len({getattr(cell, column) for cell in cells}) < count:
            return f"at least {count} {COUNTED[column]}"
    chosen, told = options.get("selection"), study.settings["best_epoch"]
    if BEST_EPOCH.get(chosen, told) != told:
        return f"selection {chosen!r} (best_epoch: {BEST_EPOCH[chosen]})"
    arms = options.get("arms")
    if arms and not present_arms(arms, study, {(cell.method, cell.pattern) for cell in cells}):
        return f"one of the arms {', '.join(arms)}"
    return None


def _lacks_forgetting(study: "Study", cells: Sequence, kind: str) -> str | None:
    if study.forgetting is None:
        return "a measure outside its tasks (key forgetting)"
    start = any(cell.k == 0 and study.uses_context(cell.method) for cell in cells)
    return None if start or kind != "figure" else "a model in context with 0 shots"


def _chosen_at(study: "Study", cells: Sequence) -> set[int]:
    """Return the numbers of shots from which settings are chosen among these cells."""
    places = {(cell.task, cell.model, cell.k) for cell in cells}
    found = (place for name in study.choices for place in study.candidate_cells(name))
    return {place[-1] for place in found if place in places}


def _lacks_out_of_domain(study: "Study", cells: Sequence, wanted: bool, _: int) -> str | None:
    found = any(study.out_of_domain(cell.task) for cell in cells)
    return None if found or not wanted else "an out-of-domain set"


def _lacks_probes(study: "Study", cells: Sequence, wanted: bool, _: int) -> str | None:
    found = any(study.probes(cell.task) for cell in cells)
    return None if found or not wanted else "a probe of neutral pairs (key probes of a task)"


def _lacks_breakdown(study: "Study", cells: Sequence, column: str, _: int) -> str | None:
    names = {name for cell in cells for name, _ in study.out_of_domain(cell.task)}
    found = any(column in study.tasks[name]["subsets"] for name in names)
    return None if found else f"an out-of-domain set with a {column} of each row (key subsets)"


def _lacks_fine_tuned(study: "Study", cells: Sequence, wanted: bool, k: int) -> str | None:
    found = any(cell.k == k and _trains(study, cell.method) for cell in cells)
    return None if found or not wanted else f"a fine-tuned model with {k} shots"


def _lacks_comparison(study: "Study", cells: Sequence, among: str, k: int) -> str | None:
    """Say what is missing for a comparison with a model in context, which needs shots: k > 0."""
    ours = [cell for cell in cells if cell.k == k > 0 and _has_our_draws(study, cell.method)]
    shown = {(cell.task, cell.model) for cell in ours if not _trains(study, cell.method)}
    trained = {(cell.task, cell.model) for cell in ours if _trains(study, cell.method)}
    if shown & trained:
        return None
    if among == FINE_TUNED:
        return f"a model that is fine-tuned and shown in context with {k} shots"
    held = {cell.task for cell in study.cells if cell.k == k and study.is_baseline(cell.method)}
    if held & {task for task, _ in shown}:
        return None
    return f"a fine-tuned model or a baseline beside a model in context with {k} shots"


def _trains(study: "Study", method: str) -> bool:
    # Baselines are left out before. `families` would tell, but its edits would redraw every figure.
    return not study.uses_context(method) and not study.is_imported(method)


def _has_our_draws(study: "Study", method: str) -> bool:
    return not study.is_imported(method) or study.methods[method]["prompts"] == "stored"


FINE_TUNED = "fine-tuned"
"""What `comparison` names where only a fine-tuned model will do, no baseline."""
RELATIONS: dict[str, Callable] = {
    "out_of_domain": _lacks_out_of_domain,
    "probes": _lacks_probes,
    "breakdown": _lacks_breakdown,
    "fine_tuned": _lacks_fine_tuned,
    "comparison": _lacks_comparison,
}
"""Key of `needs` → function of study, cells, the key's value and k that says what is missing."""


def present_arms(
    arms: Iterable[str], study: "Study", pairs: Iterable[tuple[str, str]]
) -> list[str]:
    """Return those of `arms` that pick one of `pairs`, methods of the study with patterns."""
    methods = {cell.method: study.kinds[cell.method] for cell in study.cells}
    return [arm for arm in arms if any(in_arms([arm], methods, *pair) for pair in pairs)]


PARTS: dict[str, tuple[str, str, Callable]] = {
    "tasks": ("task", "task", lambda study, cell, name: fnmatchcase(cell.task, name)),
    "evaluation_sets": (
        *("evaluation set", "evaluation_set"),
        lambda study, cell, name: any_called(study.evaluation_sets(cell.task), name),
    ),
    "families": (
        *("a model of family", "family"),
        lambda study, cell, name: study.models[cell.model]["family"] == name,
    ),
    "k": ("k =", "k", lambda study, cell, name: cell.k == name),
    "methods": (
        *("method", ""),
        lambda study, cell, name: name in (cell.method, study.kinds[cell.method]["kind"]),
    ),
    "factors": (
        *("tasks that differ in the factor", ""),
        lambda study, cell, name: cell.task in study.variants.get(name, {}),
    ),
    "patterns": ("pattern", "", lambda study, cell, name: fnmatchcase(cell.pattern, name)),
}
"""Key of `needs` to what a message calls it, the option that asks for the same, and the test."""
COUNTED = {"model": "models", "method": "methods", "pattern": "patterns", "k": "numbers of shots"}


def _fitted(entry: dict, study: "Study") -> dict:
    """Return an entry without the arms of which the study has no cell, which its function would
    not know; the others still stand side by side."""
    options = entry.get("options", {})
    if not options.get("arms"):
        return entry
    arms = present_arms(
        options["arms"], study, {(cell.method, cell.pattern) for cell in study.cells}
    )
    return {**entry, "options": {**options, "arms": arms}}


def makeable(study: "Study", where: str = "config/config.yaml") -> dict[str, dict]:
    """Return the figures and tables that a study draws, as `on_demand` those besides that it makes
    when they are asked for, and as `unmet` why not the others.

    These are all that its cells allow or, of them, those that its keys `figures` and `tables`
    name. Raises UserError, with the study's file `where`, for a name that config/figures.yaml has
    not and for one that the cells do not allow.
    """
    found: dict[str, dict] = {"unmet": {}, "on_demand": {}}
    for kind in ("figure", "table"):
        entries, key = getattr(study, f"{kind}s"), f"{kind}s"
        named = study.settings.get(key, list(entries))
        reasons = {name: _reason(kind, name, entry, study) for name, entry in entries.items()}
        for name in named if key in study.settings else ():
            if name not in entries:
                raise unknown(kind, name, entries, f"{where}: {key}")
            if reasons[name]:
                raise UserError(f"{where}: {key}: {reasons[name]}")
        found[key] = {
            name: _fitted(entry, study)
            for name, entry in entries.items()
            if name in named and not reasons[name]
        }
        asked = found["on_demand"][kind] = {
            name: _fitted(entry, study)
            for name, entry in entries.items()
            if name not in found[key] and _is_on_demand(kind, name, entry, study)
        }
        found["unmet"][kind] = {
            name: reason or f"{kind} '{name}' is not among the {key} that {where} names under {key}"
            for name, reason in reasons.items()
            if name not in found[key] and name not in asked
        }
    return found


def _is_on_demand(kind: str, name: str, entry: dict, study: "Study") -> bool:
    """Return whether an entry shows what is measured on demand alone, of cells that there are."""
    needs = dict(entry.get("needs", {}))
    return needs.pop("latency", False) and not _reason(kind, name, {**entry, "needs": needs}, study)


def _reason(kind: str, name: str, entry: dict, study: "Study") -> str | None:
    what = missing(entry, study, kind)
    return what and f"{kind} '{name}' needs {what}, which study '{study.name}' does not have"
