"""Names as people write them: one key for a site, a class, an id, a sequence or a path, however it is spelt.

A trailing blank, another Unicode form, a no-break space or an invisible character makes no new camera. What
is compared is the key; what is written is the commonest spelling, and what was merged is said.
"""

import enum
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trapline.console import READ_MARKERS, changed_between, printable
from trapline.errors import TraplineError


class Kind(enum.StrEnum):
    """What a name is the name of."""

    SITE = "site"
    CLASS = "class"
    SEQUENCE = "sequence"
    ID = "id"
    PATH = "path"


FOLDED = (Kind.SITE, Kind.CLASS)  # case makes no difference
SPOKEN = (Kind.SITE, Kind.CLASS, Kind.SEQUENCE)  # a tab in them is a blank, as spreadsheets leave it
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # Unicode's overrides, embeddings and isolates
MISLEADING = {  # Unicode's category -> what it is called
    "Cc": "a control character",
    "Cs": "half a character",
    "Zl": "the end of a line",
    "Zp": "the end of a paragraph",
}
WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)(?:\.0+)?")
# Characters that show nothing though their category is another than "format" (Unicode's
# Default_Ignorable_Code_Point, and the braille pattern blank).
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
MAX_SHOWN = 120  # characters of a name in a message
HIDDEN = ("Cf", "Cc")  # Unicode's categories "format" and "control"
# Zero-width (non-)joiners between letters beyond ASCII are spelling there: drop them from keys alone.
JOINERS = re.compile("(?<=[^\x00-\x7f\\s])([\u200c\u200d])(?=[^\x00-\x7f\\s])")


@dataclass(frozen=True)
class Merged:
    """Names after merging: `names`, one for each value (None where it is empty or None), and what was merged.

    `spellings`: for each name that was written in several ways, every way with its number of values.
    """

    names: list[str | None]
    spellings: dict[str, dict[str, int]] = field(default_factory=dict)


def clean(text: str) -> str:
    """`text` in Unicode's composed form (NFC), nothing invisible in it, its blanks trimmed and single."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return " ".join(_visible(unicodedata.normalize("NFC", text)).split())


def as_written(text: str) -> str:
    """`clean`, but with the joiners that Persian, Sinhala and other scripts need between their letters."""
    return changed_between(JOINERS, text, clean)


# --- names that are none ------------------------------------------------------------------------------------


def fault(text: str, kind: Kind) -> str | None:
    """Why `text` cannot be the name of a `kind`, as words that follow it; None where it can.

    A name with control characters, the ends of lines among them, with characters that turn the direction of
    what follows, or with half a character would obey or mislead whoever shows it. One with the mark of a line
    that this project prints could pass for such a line: SageMaker reads metrics wherever they stand. Blanks
    at the ends do not count.
    """
    if text.isascii() and text.isprintable() and "[" not in text:
        return None
    for letter in text.strip():
        turns = "which turns what follows" if DIRECTIONS.match(letter) else None
        called = MISLEADING.get(unicodedata.category(letter), turns)
        if called and not (letter == "\t" and kind in SPOKEN):
            return f"holds U+{ord(letter):04X}, {called}"
    return "holds the mark of a line that is read from our logs" if has_mark(text) else None


def has_mark(text: str) -> bool:
    """Whether `text` holds a mark such as [METRICS], in any case, however it is written."""
    plain = unicodedata.normalize("NFKC", text)
    if "[" not in plain:
        return False
    seen = "".join(_visible(plain).split()).casefold()
    return any(f"[{end}{mark.casefold()}]" in seen for mark in READ_MARKERS for end in ("", "/"))


def refuse(names: Iterable[str], kind: Kind, place: str) -> None:
    """Raise TraplineError for the first of `names` that has a `fault`; `place`: where it comes from."""
    for name in names:
        if problem := fault(name, kind):
            raise TraplineError(f"{place}: the {kind} {shown(name)} {problem}; give it another name")


def check_class_names(names: Iterable[str]) -> None:
    """Raise ValueError for the first class of a description whose name has a `fault`."""
    for name in names:
        if problem := fault(name, Kind.CLASS):
            raise ValueError(f"the class {shown(name)} {problem}")


def shown(name: str) -> str:
    """`ascii_quoted`, cut to what fits a message, and without a mark that would be read."""
    return printable(ascii_quoted(name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."))


def _visible(text: str) -> str:
    return "".join(
        letter
        for letter in text
        if letter.isspace() or not (unicodedata.category(letter) in HIDDEN or INVISIBLE.match(letter))
    )


def key(text: str, kind: Kind) -> str:
    """What two spellings of one name have in common. `keys` also knows numbers, which need a whole column."""
    if kind is Kind.PATH:
        parts = (clean(part) for part in text.replace("\\", "/").split("/"))
        absolute = "/" if text.startswith(("/", "\\")) else ""
        return absolute + "/".join(part for part in parts if part not in ("", "."))
    cleaned = clean(text)
    return clean(cleaned.casefold()) if kind in FOLDED else cleaned


def keys(values: Iterable[str | None], kind: Kind) -> list[str | None]:
    """The key of each value of a column; None for an empty one.

    Where every value is a whole number, with or without .0 (as a table that once had empty cells spells
    them), 2 and 2.0 are one; else 2.1 and 2.10 stay two.
    """
    column = list(values)
    of_value = {value: key(value, kind) for value in {value for value in column if value}}
    if kind is not Kind.PATH and all(WHOLE_NUMBER.fullmatch(each) for each in of_value.values() if each):
        of_value = {value: WHOLE_NUMBER.sub(r"\1", each) for value, each in of_value.items()}
    return [of_value.get(value) or None if value else None for value in column]


def merged(values: Sequence[str | None], kind: Kind) -> Merged:
    """The values with one spelling for each key: the commonest, cleaned; of equally common ones the first."""
    counts = Counter(values)
    different = list(counts)
    spelt: dict[str, dict[str, int]] = {}
    key_of = dict(zip(different, keys(different, kind), strict=True))
    for value, own in key_of.items():
        if own is not None and value is not None:
            spelt.setdefault(own, {})[value] = counts[value]
    names = {own: _commonest(found) for own, found in spelt.items()}
    name_of = {value: None if own is None else names[own] for value, own in key_of.items()}
    spellings = {
        names[own]: dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
        for own, found in sorted(spelt.items())
        if len(found) > 1
    }
    return Merged([name_of[value] for value in values], spellings)


def _commonest(spellings: Mapping[str, int]) -> str:
    cleaned: Counter[str] = Counter()
    for spelling, count in spellings.items():
        cleaned[as_written(spelling)] += count
    return min(cleaned, key=lambda spelling: (-cleaned[spelling], spelling))


def told(kind: Kind, spellings: Mapping[str, Mapping[str, int]], limit: int = 5) -> list[str]:
    """A sentence that says what was merged, with its spellings quoted; none where nothing was."""
    if not spellings:
        return []
    shown = [" = ".join(map(ascii_quoted, found)) for found in list(spellings.values())[:limit]]
    more = f" and {len(spellings) - limit} more" if len(spellings) > limit else ""
    plural = {"class": "classes"}.get(kind.value, f"{kind.value}s")
    return [f"{plural} spelt in several ways are one each: {'; '.join(shown)}{more}"]


def ascii_quoted(text: str) -> str:
    """`text` in quotes, with an escape for each character that cannot be told by looking at it."""
    plain = unicodedata.is_normalized("NFC", text)
    letters = (
        letter if letter == " " or (letter.isprintable() and plain and not INVISIBLE.match(letter))
        else letter.encode("unicode_escape").decode()
        for letter in text
    )  # fmt: skip
    return f"'{''.join(letters)}'"
