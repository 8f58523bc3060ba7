"""Errors that a person can act on.

Every message names the file or the key, says what is wrong and what to do about it.
"""


class TraplineError(Exception):
    """A run that cannot go on: bad data, a missing file, a full disk. Exit code 1."""

    exit_code = 1


class UsageError(TraplineError):
    """A wrong flag or an impossible hyperparameter, found before any work was done. Exit code 2."""

    exit_code = 2
