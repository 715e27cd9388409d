"""Characters of a figure that no font of this machine has, so that its PDF and PNG show boxes."""

import re
from functools import cache
from html import unescape
from unicodedata import category
from xml.sax.saxutils import escape

import vl_convert

from . import theme

NOBODY = "\U0010fffd"
"""A character for private use, which fonts leave empty: it is drawn as any that no font has."""
INVISIBLE = ("Cc", "Cf", "M", "Z")
"""Categories of characters that are drawn with others, or not at all."""


def missing(svg: str) -> list[str]:
    """Return a line for each text of a figure with characters that no font here has.

    Page and SVG are drawn with the fonts of the reader's machine; PDF and PNG with those of this
    one.
    """
    texts = [unescape(text) for text in re.findall(r"<text[^>]*>([^<]+)</text>", svg)]
    lines = []
    for text in dict.fromkeys(texts):
        absent = [char for char in dict.fromkeys(text) if not (char.isascii() or has_glyph(char))]
        if absent:
            lines.append(
                f"no font on this machine has {' '.join(absent)} of “{text}”: PDF and PNG show "
                "boxes; install such a font (Noto Sans CJK, Noto Emoji), or change the title"
            )
    return lines


@cache
def has_glyph(char: str) -> bool:
    """Return whether a font of this machine has a character: it is drawn as an absent one else."""
    return category(char).startswith(INVISIBLE) or _drawn(char) != _drawn(NOBODY)


@cache
def _drawn(char: str) -> bytes:
    """Return the picture of a character, made as figures are."""
    place = f'x="4" y="14" font-size="12px" font-family="{theme.FONT}"'
    text = f"<text {place}>{escape(char)}</text>"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">{text}</svg>'
    return vl_convert.svg_to_png(svg, ppi=72)
