"""Names of one table found again in another, which may spell them otherwise."""

from collections.abc import Iterable, Mapping, Sequence

from trapline.names import Kind, ascii_quoted, keys


def matched(wanted: Sequence[str], given: Sequence[str], kind: Kind) -> dict[str, str]:
    """For each of `wanted` the one of `given` that it names: the same text, else the one with the same key.

    Each of `given` is found at most once, and what names nothing is left out. Raises ValueError, naming two
    spellings, where it cannot be told which of two is meant.
    """
    same = {name: name for name in set(wanted) & set(given)}
    open_ones, left = ([name for name in names if name not in same] for names in (wanted, given))
    if not open_ones:
        return same
    key_of = dict(zip([*wanted, *given], keys([*wanted, *given], kind), strict=True))
    by_key = _one_of_each_key(left, key_of, {key_of[name] for name in open_ones})
    asking = _one_of_each_key(open_ones, key_of, by_key.keys())
    return same | {name: by_key[own] for own, name in asking.items()}


def _one_of_each_key(
    names: Iterable[str], key_of: Mapping[str, str | None], wanted: Iterable[str | None]
) -> dict[str, str]:
    """The names that have a key among `wanted`, by key. Raises ValueError where two have the same one."""
    found: dict[str, str] = {}
    asked = set(wanted)
    for name in names:
        own = key_of[name]
        if own is None or own not in asked:
            continue
        if found.setdefault(own, name) != name:
            raise ValueError(
                f"{ascii_quoted(found[own])} and {ascii_quoted(name)} differ in their spelling alone"
            )
    return found
