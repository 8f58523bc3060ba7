"""The sources that a launch on this machine reads: whether they are there, and what tells them apart."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trapline.errors import UsageError
from trapline.launching.job_requests import WEIGHTS
from trapline.launching.local.user_files import printable, walk
from trapline.launching.plan import Plan
from trapline.launching.prepare_options import (
    FOLLOW_LINKS,
    SITE_CSV,
    check_files,
    check_prepare_options,
    follows_links,
)
from trapline.launching.staging import jobs_digest
from trapline.preparation.archives import READ_ARCHIVES, is_archive, unread_archive
from trapline.s3 import is_s3
from trapline.storage import read_json

KEY_LENGTH = 16


def check_sources(plan: Plan) -> None:
    """Raise UsageError where a local folder or file that the plan names is not there, or cannot be read."""
    _check_channels(plan)
    _check_data(plan.data)
    _check_prepared(plan.prepared)
    folder = data_folder(plan.data)
    check_files(plan.prepare_options, plan.trial_s3 or folder)
    if plan.backend == "local":
        refuse_links_for_containers(plan.prepare_options, folder)
        for name, source in {"prepared": plan.prepared, **plan.channels}.items():
            if source and not is_s3(source):
                refuse_links_out_of(f"--{name} {source}", Path(local_path(source)))


def _check_channels(plan: Plan) -> None:
    for name, source in plan.channels.items():
        if not is_s3(source) and not Path(local_path(source)).exists():
            raise UsageError(f"--{name} {source}: no such folder or file")
    staged = plan.channels.get(WEIGHTS)
    if staged and not is_s3(staged) and not (Path(local_path(staged)) / "weights.json").is_file():
        raise UsageError(
            f"--{WEIGHTS} {staged}: holds no weights.json; launch/stage_weights.py makes such a folder, and "
            "--set weights=FILE takes a file of your own"
        )


def _check_data(data: str | None) -> None:
    if not data or data == "demo" or is_s3(data) or data_folder(data):
        return
    path = Path(local_path(data))
    if not path.is_file():
        raise UsageError(f"--data {data}: no such folder")
    unread = unread_archive(path)
    if unread or not is_archive(path.name):
        raise UsageError(f"--data {data}: {unread or f'a file; give a folder, {READ_ARCHIVES}'}")


def _check_prepared(prepared: str | None) -> None:
    if not prepared or is_s3(prepared):
        return
    folder = Path(local_path(prepared))
    if not folder.is_dir():
        raise UsageError(
            f"--prepared {prepared}: {'a file; give a folder' if folder.is_file() else 'no such folder'}"
        )
    if not (folder / "dataset.json").is_file():
        raise UsageError(f"--prepared {prepared}: holds no dataset.json; --data takes raw images")


def refuse_links_for_containers(options: Mapping[str, str], data: Path | None) -> None:
    """Raise UsageError where links that are to be followed lead where no container can."""
    if data is None or not follows_links(options):
        return
    refuse_links_out_of(f"--prepare {FOLLOW_LINKS}=true", data)


def refuse_links_out_of(said: str, folder: Path) -> None:
    """Raise UsageError, which begins with `said`, where links in the folder lead where no container can."""
    links = [found.name for found in walk(folder) if found.kind == "outside" or found.link.startswith("/")]
    if links:
        raise UsageError(
            f"{said}: a container sees nothing but the folder {folder}, out of which links lead "
            f"({len(links)}, the first {printable(links[0])}); use --backend process, or put what they lead "
            "to into the folder"
        )


def data_folder(data: str | None) -> Path | None:
    """The folder of this machine that `--data` names; None where it is something else, or not there."""
    path = None if not data or data == "demo" or is_s3(data) else Path(local_path(data))
    return path if path and path.is_dir() else None


def local_path(text: str) -> str:
    """The path of a `file://` URI, or the text itself."""
    return text.removeprefix("file://")


def prepared_key(plan: Plan, image: Sequence[str]) -> str:
    """A name for the prepared set: a digest of code, versions, options, and the files' names, sizes, times.

    `image`: what the set is prepared in, where that is a container (`Runtime.key`). Raises TraplineError
    naming a folder of the data that cannot be opened.
    """
    digest = hashlib.sha256(jobs_digest(image).encode())
    options = check_prepare_options(plan.prepare_options, {})
    digest.update(json.dumps([plan.data, options.digest()]).encode())
    for source in (plan.data, plan.prepare_options.get(SITE_CSV), plan.label_names):
        if source and source != "demo" and not is_s3(str(source)):
            for found in walk(Path(local_path(str(source))), follow_links=plan.follows_links):
                digest.update(found.line)
    if plan.data and is_s3(plan.data):
        digest.update(plan.job_name.encode())  # what lies in S3 may have changed: prepared anew each time
    return f"{printable(Path(plan.data or '').name) or 'data'}-{digest.hexdigest()[:KEY_LENGTH]}"


def prepared_identity(prepared: str) -> str:
    """What makes a prepared set the same wherever it lies: what it was made of; else its URI."""
    described = Path(local_path(prepared)) / "dataset.json"
    if is_s3(prepared) or not described.is_file():
        return prepared
    return str(read_json(described)["fingerprint"])
