"""The words in a picture: as they are written, in a font that has them."""

import functools
from collections.abc import Iterable
from typing import Any

# They have a box, or a coloured bitmap that isn't drawn, for what they "have".
_NO_LETTERS = ("Last Resort", "Color Emoji")


def letter(figure: Any) -> None:
    """Make every text of a figure readable; to be called before it is saved.

    Names of runs are no formulas: `$` is itself. Characters that the usual font
    lacks (Chinese) come from another font of the machine; what none has is written
    as an escape (\\u6625).

    Args:
        figure: of matplotlib, all drawn. Numbers at the axes are left alone.
    """
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if text.get_text()]
    for text in texts:
        text.set_usetex(False)
        text.set_parse_math(False)
        words = text.get_text()
        usual = text.get_fontfamily()
        missing = set(words) - {"\n"} - _characters_of(text.get_fontproperties())
        others, lacking = _fonts_with(missing)
        text.set_fontfamily([*usual, *others])
        text.set_text("".join(ascii(c)[1:-1] if c in lacking else c for c in words))


def in_legend(words: str) -> str:
    """Words that a legend shows: those that begin with "_" it would leave out."""
    return f" {words}" if words.startswith("_") else words


def _characters_of(font: Any) -> set[str]:
    """All characters of the font that matplotlib would take."""
    from matplotlib.font_manager import findfont

    return _characters_in(findfont(font))


@functools.lru_cache(100)
def _characters_in(file: str) -> set[str]:
    """All characters of a font's file; none where it can't be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return set()


def _fonts_with(missing: set[str]) -> tuple[list[str], set[str]]:
    """Names of fonts that have characters, and the characters that none has."""
    names, left = [], set(missing)
    for name, file in _other_fonts() if missing else ():
        found = left & _characters_in(file)
        if found:
            names.append(name)
            left -= found
        if not left:
            break
    return names, left


def _other_fonts() -> Iterable[tuple[str, str]]:
    """Name and file of each family that the machine has, upright and regular."""
    from matplotlib.font_manager import fontManager

    def oddity(font: Any) -> tuple[bool, int]:
        weight = font.weight if isinstance(font.weight, int) else 400
        return font.style != "normal", abs(weight - 400)

    families: dict[str, str] = {}
    for font in sorted(fontManager.ttflist, key=oddity):
        if not any(words in font.name for words in _NO_LETTERS):
            families.setdefault(font.name, font.fname)
    return families.items()
