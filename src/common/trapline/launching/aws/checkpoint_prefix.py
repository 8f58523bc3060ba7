"""Where a training job on AWS keeps its checkpoints: the same command finds them, a changed one does not.

Every training job has such a place, spot or not: a job that failed or ran out of time goes on where it was.
train.py itself looks for the key of its code, data and configuration below it, so that other images that came
to lie under the same URI are never mixed with the old checkpoint.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from trapline.config import TrainingConfig
from trapline.s3 import is_s3
from trapline.s3_places import place_of
from trapline.storage import source_files
from trapline.trusted_code import digest_of

FOLDER = "checkpoints"
KEY_LENGTH = 16


def checkpoint_key(
    code: Path,
    config: TrainingConfig,
    data: Mapping[str, object],
    channels: Mapping[str, str],
    *,
    only_for: str | None = None,
) -> str:
    """A hash of what decides the weights that a job ends with.

    `code`: the staged sources. `data`: where the data come from, with the options that prepare them.
    `channels`: name -> URI of the further inputs. `only_for`: a job that shall begin anew.
    """
    said = {
        "code": digest_of((path.relative_to(code).as_posix(), path) for path in source_files(code)),
        "config": config.digest(),
        "data": {name: _plain(value) for name, value in data.items()},
        "channels": {name: _plain(uri) for name, uri in channels.items()},
        "only_for": only_for,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def _plain(value: object) -> object:
    """A value as it counts: of a URI what it names, however many slashes it ends with."""
    return place_of(value).uri if isinstance(value, str) and is_s3(value) else value


def checkpoint_uri(output: str, key: str) -> str:
    """The S3 URI of the checkpoints."""
    return f"{output.rstrip('/')}/{FOLDER}/{key}"
