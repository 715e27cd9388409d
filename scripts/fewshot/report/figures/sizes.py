"""Models as steps of a family: short names for axes, what a row of panels is about."""

import re

import pandas as pd

from ...analysis.catalog import model_order, set_title, titles


def families(catalog: dict) -> dict[str, str]:
    """Return family -> title: what the titles of its models share, or their different heads."""
    found: dict[str, str] = {}
    for family, members in _members(catalog).items():
        heads = dict.fromkeys(head for head, tail in members.values() if tail)
        found[family] = " / ".join(heads) if heads else family
    return found


def short_titles(catalog: dict) -> dict[str, str]:
    """Return model -> the last part of its title ("125M" of "OPT-125M").

    That is the whole title where a model's family would have the same one twice.
    """
    whole, found = titles(catalog, "models"), {}
    for members in _members(catalog).values():
        tails = [tail for _, tail in members.values()]
        for name, (_, tail) in members.items():
            found[name] = tail if tail and tails.count(tail) == 1 else whole[name]
    return found


def _members(catalog: dict) -> dict[str, dict[str, tuple[str, str]]]:
    """Return family -> model -> its title in two parts, cut at the last blank or hyphen."""
    whole, found = titles(catalog, "models"), {}
    for name in model_order(catalog):
        head, _, tail = re.sub(r"[\s-]+(?=[^\s-]+$)", "\0", whole[name]).partition("\0")
        found.setdefault(catalog["models"][name]["family"], {})[name] = (head, tail)
    return found


def with_sizes(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the frame with `family`, `size` (short title) and `title` of each row's model."""
    family = {name: entry["family"] for name, entry in catalog["models"].items()}
    return frame.assign(
        family=frame["model"].map(family),
        size=frame["model"].map(short_titles(catalog)),
        title=frame["model"].map(titles(catalog, "models")),
    )


def sizes_of(frame: pd.DataFrame, catalog: dict, family: str) -> list[str]:
    """Return the short titles of a family's models that occur in `frame`, smallest first."""
    present, short = set(frame["model"]), short_titles(catalog)
    members = (name for name in model_order(catalog) if name in present)
    return [short[name] for name in members if catalog["models"][name]["family"] == family]


def family_order(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the families that occur in `frame`, in the order of the registry."""
    present = set(frame["model"])
    order = (catalog["models"][name]["family"] for name in model_order(catalog) if name in present)
    return list(dict.fromkeys(order))


def set_heading(catalog: dict, task: str, evaluation_set: str, domain: str) -> list[str]:
    """Return the lines of an axis title that say on what accuracy (percent) is measured."""
    if domain == "in":
        return [f"{set_title(catalog, task)} (%)", "in domain"]
    return [f"{set_title(catalog, task)} →", f"{set_title(catalog, evaluation_set)} (%)"]


def whole_title(frame: pd.DataFrame, family: str, size: str) -> str:
    """Return the title of the model of a family that has this size in `frame` (`with_sizes`)."""
    return frame[(frame["family"] == family) & (frame["size"] == size)]["title"].iloc[0]
