"""Names of classes, sites and runs as a figure can show them, whatever their script.

A name is drawn with matplotlib's default font and, where that lacks its characters, with fonts of this
machine that have them. A name that none of them shows is not drawn as boxes, but as a stand-in such as
`class 3`, which counts as the report's tables do. Characters that show nothing are left out. Fonts are looked
for only where the default one lacks something.
"""

import contextlib
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.names import ascii_quoted, clean

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.font_manager import FontEntry
    from matplotlib.ft2font import FT2Font

NOT_DRAWN = "the machine that drew this cannot show them; a font is missing there"
PRIVATE = "Co"  # Unicode's category of characters that are another sign in every font
LEFT_TO_RIGHT = "\u200e"  # a mark that shows nothing
RIGHT_TO_LEFT = ("R", "AL")  # Unicode's directions of Hebrew, Arabic and their like
PLAIN_WEIGHTS = (400, "normal", "regular")
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError)  # what a damaged or an odd font raises


@dataclass(frozen=True)
class Drawn:
    """Texts as a figure shows them.

    texts: one for each that was given. families: for matplotlib's `fontfamily`; None: its default. replaced:
    the texts that cannot be drawn, by what stands for them.
    """

    texts: list[str]
    families: list[str] | None
    replaced: dict[str, str]


def drawn(texts: Sequence[str], what: str) -> Drawn:
    """`texts` as they are drawn; one that cannot be is called `what` and its number among them, from 1."""
    visible = [_visible(text) for text in texts]
    found = {text: _fonts_for(text) for text in set(visible)}
    replaced = {
        _stand_in(what, number, visible): text
        for number, text in enumerate(texts, 1)
        if found[visible[number - 1]] is None
    }
    stand_ins = iter(replaced)
    families = sorted({family for own in found.values() for family in own or ()}, key=_preference)
    return Drawn(
        texts=[next(stand_ins) if found[text] is None else text for text in visible],
        families=[*_default_families(), *families] if families else None,
        replaced=replaced,
    )


def why(replaced: Mapping[str, str], limit: int = 20) -> str:
    """A sentence that says what stands for what; empty where all is drawn."""
    if not replaced:
        return ""
    shown = "; ".join(
        f"{name} is {ascii_quoted(_visible(text))}" for name, text in list(replaced.items())[:limit]
    )
    more = f"; and {len(replaced) - limit} more" if len(replaced) > limit else ""
    return f"Figures number some names ({NOT_DRAWN}): {shown}{more}"


def shortened(text: str, limit: int) -> str:
    """The beginning of `text`, at most `limit` characters, with all the marks of the last one."""
    if len(text) <= limit:
        return text
    end = limit - 1
    while end > 1 and unicodedata.category(text[end]).startswith("M"):
        end -= 1
    return f"{text[:end]}…"


def followed(text: str) -> str:
    """`text` for the beginning of a line: what comes after it stands to its right, whatever its direction."""
    backwards = any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in text)
    return f"{LEFT_TO_RIGHT}{text}{LEFT_TO_RIGHT}" if backwards else text


def _visible(text: str) -> str:
    """Without what shows nothing, and with an escape, as in the tables, for what is no valid Unicode."""
    return clean(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _stand_in(what: str, number: int, taken: Sequence[str]) -> str:
    name = f"{what} {number}"
    while name in taken:
        name = f"({name})"
    return name


@lru_cache(maxsize=4096)
def _fonts_for(text: str) -> tuple[str, ...] | None:
    """The families that `text` needs besides the default ones; None where it cannot be drawn."""
    if text.isascii():
        return () if text else None
    if any(unicodedata.category(letter) == PRIVATE for letter in text):
        return None
    found = _covering({letter for letter in text if ord(letter) not in _default_letters()})
    return found if found is not None and _can_lay_out(text, found) else None


def _covering(letters: set[str]) -> tuple[str, ...] | None:
    """Families that together have the letters, as few as is easily found; None where there are none."""
    found: list[str] = []
    missing = set(letters)
    while missing:
        has = {family: {letter for letter in missing if _shows(family, letter)} for family in _families()}
        best = max(has, key=lambda family: len(has[family]), default="")  # of equals the first
        if not has.get(best):
            return None
        found.append(best)
        missing -= has[best]
    return tuple(found)


@cache
def _families() -> dict[str, "FontEntry"]:
    """The families of this machine, the plainest first, each with its plainest font.

    Not matplotlib's own, which are for formulas.
    """
    import matplotlib
    from matplotlib.font_manager import findSystemFonts, fontManager

    # Those, too, that were installed since matplotlib made the list that it keeps on disk.
    for path in set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}:
        with contextlib.suppress(*UNREADABLE):  # matplotlib, too, passes over a font that it cannot use
            fontManager.addfont(path)
    own = Path(matplotlib.get_data_path())
    found = [entry for entry in fontManager.ttflist if own not in Path(entry.fname).parents]
    found.sort(key=lambda entry: entry.style == "normal" and entry.weight in PLAIN_WEIGHTS)
    plainest = {entry.name: entry for entry in found}
    return {name: plainest[name] for name in sorted(plainest, key=_preference)}


def _preference(family: str) -> tuple[bool, bool, str]:
    return "Sans" not in family, "Mono" in family, family


@cache
def _letters_of(family: str) -> frozenset[int]:
    try:
        return frozenset(_font_of(family).get_charmap())
    except UNREADABLE:
        return frozenset()


def _shows(family: str, letter: str) -> bool:
    """Whether the family has more of the letter than a blank, as fonts of coloured signs have."""
    if ord(letter) not in _letters_of(family):
        return False
    font = _font_of(family)
    try:
        font.load_char(ord(letter))
        return len(font.get_path()[0]) > 0
    except UNREADABLE:
        return False


def _font_of(family: str) -> "FT2Font":
    """Not by `findfont`, which writes to the log where a family has no plain font."""
    from matplotlib import font_manager

    entry = _families()[family]
    return font_manager.get_font(font_manager.FontPath(entry.fname, entry.index))  # of a collection, too


def _default_families() -> tuple[str, ...]:
    import matplotlib

    return tuple(matplotlib.rcParams["font.family"])


@cache
def _default_letters() -> frozenset[int]:
    return frozenset(_fonts(_default_families()).get_charmap())


def _fonts(families: tuple[str, ...]) -> "FT2Font":
    """What matplotlib draws in: the font of the first family, which falls back on those of the others."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font([findfont(FontProperties(family=[family])) for family in families])


def _can_lay_out(text: str, families: tuple[str, ...]) -> bool:
    """Whether matplotlib itself finds a sign for all that `text` becomes, shaped."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _fonts((*_default_families(), *families)).set_text(text, 0.0)
        except UNREADABLE:
            return False
    return not said
