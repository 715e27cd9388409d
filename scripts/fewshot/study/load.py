"""Compose a checked study from a configuration and the registries."""

from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..validation import CONFIG, read_yaml, validate
from .checks import check_study
from .figure_needs import makeable
from .imports import folder_of, is_archived
from .own_entries import Places, with_own
from .own_settings import check_own_settings
from .prices import with_prices
from .registries import load_registries, located
from .study import Study
from .without_model import with_none


def load_study(
    config: dict,
    folder: str | Path = "config",
    where: str = "config/config.yaml",
    root: Path = Path(),
    as_module: bool = False,
) -> Study:
    """Check a study against the registries in `folder` and its own entries, and return it.

    `where` names the study's file in messages; `root` and `as_module` are those of `Places`. Raises
    UserError, one line, for anything wrong.
    """
    settings = validate(config, "study", where)
    # What jobs run on is no setting: it changes no result.
    machine = settings.pop("machine")
    own, brought = settings.pop("define", {}), settings.pop("registries", None)
    if brought and not is_archived(brought, root):
        raise UserError(
            f"{where}: registries: '{brought}' holds no entries of an archive; valid: "
            f"{folder_of(settings['study'])}, as import_predictions writes it; entries of a "
            "study's own stand under the key define"
        )
    names = {kind: tuple(entries) for kind, entries in own.items()}
    folder = root / brought if brought else folder
    places = Places(str(folder), where, names, root, as_module)
    registries = load_registries(folder)
    if Path(folder) == CONFIG:  # Python runs elsewhere than in the project.
        registries = located(registries, Path(folder).parent)
    registries = with_own(registries, own, places)
    prices = registries.pop("prices")
    figures = with_prices(registries.pop("figures"), prices, registries["models"], places)
    study = Study(
        settings, **with_none(registries, places), **figures, machine=machine, places=places
    )
    check_study(study, where, archived=bool(brought))
    if not brought:  # The methods of an archive state what they inherited too.
        methods = study.file("methods")
        check_own_settings(read_yaml(methods), study.methods, methods)
    check_own_settings(own.get("methods", {}), study.methods, f"{where}: define.methods")
    return replace(study, **makeable(study, where))
