"""The sources that a launch on this machine reads: whether they are there, and what tells them apart."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.data.archives import is_archive
from common.errors import UsageError
from common.s3 import is_s3
from common.storage import folder_digest, read_json
from launch.flags import Plan
from launch.jobs import WEIGHTS
from launch.staging import COMMON, ENTRY_POINTS

KEY_LENGTH = 16


def check_sources(plan: Plan) -> None:
    """Raise UsageError where a local folder or file that the plan names does not exist."""
    for name, source in plan.channels.items():
        if not is_s3(source) and not Path(local_path(source)).exists():
            raise UsageError(f"--{name} {source}: no such folder or file")
    staged = plan.channels.get(WEIGHTS)
    if staged and not is_s3(staged) and not (Path(local_path(staged)) / "weights.json").is_file():
        raise UsageError(
            f"--{WEIGHTS} {staged}: holds no weights.json; launch/stage_weights.py makes such a folder, and "
            "--set weights=FILE takes a file of your own"
        )
    for flag, value in (("--data", plan.data), ("--prepared", plan.prepared)):
        if value and value != "demo" and not is_s3(value) and not Path(local_path(value)).is_dir():
            a_file = Path(local_path(value)).is_file()
            if not (flag == "--data" and a_file and is_archive(value)):
                what = "a file; give a folder, .zip, .tar or .tar.gz" if a_file else "no such folder"
                raise UsageError(f"{flag} {value}: {what}")
    if plan.prepared and not is_s3(plan.prepared):
        described = Path(local_path(plan.prepared)) / "dataset.json"
        if not described.is_file():
            raise UsageError(f"--prepared {plan.prepared}: holds no dataset.json; --data takes raw images")
    sites = plan.prepare_options.get("site-csv")
    if sites and not Path(sites).is_file():
        raise UsageError(f"--prepare site-csv={sites}: no such file")


def local_path(text: str) -> str:
    """The path of a `file://` URI, or the text itself."""
    return text.removeprefix("file://")


def prepared_key(plan: Plan, image: Sequence[str]) -> str:
    """A name for the prepared set: a digest of code, options, and the names, sizes and times of the files.

    `image`: what the set is prepared in, where that is a container (`Kind.key`).
    """
    digest = hashlib.sha256(folder_digest([ENTRY_POINTS, COMMON / "data"]).encode())
    digest.update(json.dumps([plan.data, sorted(plan.prepare_options.items()), *image]).encode())
    for source in (plan.data, plan.prepare_options.get("site-csv")):
        if source and source != "demo" and not is_s3(source):
            for path in _files_below(Path(local_path(source))):
                state = path.stat(follow_symlinks=False)
                digest.update(
                    f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode(errors="surrogateescape")
                )
    if plan.data and is_s3(plan.data):
        digest.update(plan.job_name.encode())  # what lies in S3 may have changed: prepared anew each time
    return f"{Path(plan.data or '').name or 'data'}-{digest.hexdigest()[:KEY_LENGTH]}"


def _files_below(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def prepared_identity(prepared: str) -> str:
    """What makes a prepared set the same wherever it lies: what it was made of; else its URI."""
    described = Path(local_path(prepared)) / "dataset.json"
    here = not is_s3(prepared) and described.is_file()
    return str(read_json(described)["fingerprint"]) if here else prepared
