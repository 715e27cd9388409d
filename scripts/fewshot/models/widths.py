"""The width of a module inside of a model, as settings state it."""


def units_of(stated: int | str, width: int) -> int:
    """Return the units of a layer, stated as their number or as a share of `width`, such as "1/16".

    A share is rounded down, and at least one unit is left.
    """
    if isinstance(stated, int):
        return stated
    return max(1, width // int(stated.removeprefix("1/")))
