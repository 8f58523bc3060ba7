"""KEY=VALUE words of a command line."""

from collections.abc import Sequence

from common.errors import UsageError


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
