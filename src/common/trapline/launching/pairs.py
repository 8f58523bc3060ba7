"""Words of a command line, KEY=VALUE among them, and the command line that those become."""

from collections.abc import Mapping, Sequence

from trapline.errors import UsageError
from trapline.launching.local.user_files import printable


def read_pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary. Raises UsageError for one without `=`, or a key that comes twice."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text}: must be KEY=VALUE")
        if name in pairs:
            raise UsageError(f"{flag} {name}: given twice")
        pairs[name] = value
    return pairs


def require_text(words: Sequence[str]) -> None:
    """Raise UsageError for a word that is no text: no record and no request could hold it."""
    for word in words:
        if printable(word) != word:
            raise UsageError(
                f"{printable(word)}: is not UTF-8; rename what it names, or give a link to it of another name"
            )


def as_words(name: str, value: str) -> list[str]:
    """An option as words of a command line: one word where the value would pass for a flag, else two."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def options_as_words(options: Mapping[str, str]) -> list[str]:
    """Options as a command line, in their order."""
    return [word for name, value in options.items() for word in as_words(name, value)]


def refuse_flags_as_values(values: Mapping[str, object]) -> None:
    """Raise UsageError for a hyperparameter that the training script would take for a flag.

    SageMaker's toolkit writes name and value as two words, whatever the value.
    """
    for name, value in values.items():
        if isinstance(value, str) and value.startswith("-"):
            raise UsageError(
                f"hyperparameter {name}: {value} begins with a dash, and the job would take it for a flag; "
                f"write a file as ./{value}"
            )
