"""First weights that are a file of this machine, for jobs that run in another folder than the user."""

from pathlib import Path

from trapline.config import TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.s3 import is_s3

NO_FILES = ("imagenet", "none", "phase1")


def with_absolute_weights(config: TrainingConfig, flag: str = "--set") -> TrainingConfig:
    """`config` with the whole path of the file that it begins with, if it is one.

    Raises UsageError, naming the `flag`, where there is no such file, and where the path has letters that no
    hyperparameter may have.
    """
    named = config.weights
    if named in NO_FILES or is_s3(named):
        return config
    path = Path(named)
    if not path.is_file():
        raise UsageError(f"{flag} weights={named}: no such file, and none of {', '.join(NO_FILES)}")
    return config if path.is_absolute() else make_config({**config.record(), "weights": str(path.absolute())})
