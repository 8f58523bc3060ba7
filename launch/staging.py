"""A clean copy of the code that a job runs: entry_points/ with `common` beside it."""

import os
import shutil
from pathlib import Path

import common
from common.errors import TraplineError
from common.storage import source_files

ENTRY_POINTS = Path(__file__).resolve().parents[1] / "entry_points"
COMMON = Path(common.__file__).resolve().parent


def stage_code(target: Path, requirements: list[str] | None = None) -> Path:
    """Copy the sources into the new folder `target` and return it; never `__pycache__`, which changes hashes.

    `requirements` become a requirements.txt, which AWS's training toolkit installs at job start: for
    deep-learning images, that lack some of what the code needs. Raises TraplineError without sources.
    """
    if not ENTRY_POINTS.is_dir():
        raise TraplineError(f"{ENTRY_POINTS}: no such folder; run the launcher from a checkout of Trapline")
    for folder, name in ((ENTRY_POINTS, ""), (COMMON, "common")):
        for path in source_files(folder):
            copy = target / name / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            os.utime(copy, (0, 0))
    if requirements:
        (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return target
