"""The code that a job runs, entry_points/ with the library beside it: its digest, and a clean copy."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from trapline.launching import checkout
from trapline.shipped import shipped_files
from trapline.trusted_code import digest_of
from trapline.versions import code_and_versions


def sources() -> list[tuple[str, Path]]:
    """(name, file) of all that jobs are given. Raises UsageError where there is no checkout."""
    return shipped_files(checkout.entry_points())


def jobs_digest(image: Sequence[str] = ()) -> str:
    """The digest of all code that jobs are given and of what runs it, as `code_and_versions` has them."""
    return code_and_versions(sources(), image)


def model_code_digest() -> str:
    """The digest of the code/ in the models that jobs with this code leave, for `trapline.trusted_code`."""
    return digest_of(sources())


def stage_code(target: Path, requirements: list[str] | None = None) -> Path:
    """Copy the sources into the new folder `target` and return it; never `__pycache__`, which changes hashes.

    `requirements` become a requirements.txt, which AWS's training toolkit installs at job start: for
    deep-learning images, that lack some of what the code needs. Raises UsageError without sources.
    """
    for name, path in sources():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (0, 0))
    if requirements:
        (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return target
