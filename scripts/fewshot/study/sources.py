"""Where the rows and texts of a study come from."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .study import Study


def used_sources(study: "Study") -> list[str]:
    """Return the names of the sources that a study reads: of tasks, and of texts."""
    tasks = dict.fromkeys(cell.task for cell in study.cells)
    names = {each for task in tasks for each in study.scored_sets(task)}
    names |= {*study.forgetting.tasks} if study.forgetting else set()
    texts = study.forgetting.texts if study.forgetting else ()
    return sorted({*map(study.source_of, names), *texts})


def source_entry(study: "Study", name: str) -> dict:
    """Return where the raw rows of a task or the documents of a text come from."""
    return (study.texts if name in study.texts else study.tasks)[name]["source"]


def hub_sources(study: "Study") -> dict[str, dict]:
    """Return the sources of the study's tasks and texts that come from the Hub."""
    found = {name: source_entry(study, name) for name in used_sources(study)}
    return {name: source for name, source in found.items() if "hub" in source}
