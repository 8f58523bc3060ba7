"""Errors that a person can act on.

Every message names the file or the key, says what is wrong and what to do about it.
"""

from collections.abc import Iterable


class TraplineError(Exception):
    """A run that cannot go on: bad data, a missing file, a full disk. Exit code 1."""

    exit_code = 1


class UsageError(TraplineError):
    """A wrong flag or an impossible hyperparameter, found before any work was done. Exit code 2."""

    exit_code = 2


def refuse_any(refusals: Iterable[tuple[object, str]], kind: type[Exception] = UsageError) -> None:
    """Raise a `kind` of error with the first text whose condition holds."""
    for applies, said in refusals:
        if applies:
            raise kind(said)
