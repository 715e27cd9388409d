"""Compose a checked study from a configuration and the registries."""

from dataclasses import replace

from ..validation import validate
from .checks import check_study
from .figure_needs import makeable
from .imports import is_archived
from .registries import load_registries
from .study import Study
from .without_model import with_none


def load_study(config: dict, folder: str = "config", where: str = "config/config.yaml") -> Study:
    """Check a study against the registries in `folder` and return it.

    `where` names the study's file in messages. Raises UserError, one line, for anything wrong.
    """
    settings = validate(config, "study", where)
    # What jobs run on is no setting: it changes no result.
    machine = settings.pop("machine")
    brought = settings.pop("registries", None)
    folder = str(brought or folder)
    registries = with_none(load_registries(folder), folder)
    figures = registries.pop("figures")
    study = Study(
        settings, **registries, figures=figures["figures"], tables=figures["tables"],
        machine=machine, folder=folder,
    )  # fmt: skip
    check_study(study, where, archived=bool(brought) and is_archived(brought))
    return replace(study, **makeable(study, where))
