"""The sources that a launch on this machine reads: whether they are there, and what tells them apart.

Prepared sets are kept for the next launch with the same data, options, code and versions, and what a
pipeline's step was asked for and what it left, so that a continued run need not do it again. A step is asked
for the same when its request, the files that it reads and the versions of what runs it are the same, and so
is the code that jobs are given. Files are known by name, size and time of change.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.config import TrainingConfig, make_config
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.launching.checkout import jobs_digest
from trapline.launching.given_options import (
    FOLLOW_LINKS,
    check_files,
    check_prepare_options,
    follows_links,
    job_files,
    reads_s3,
)
from trapline.launching.local.user_files import printable, walk
from trapline.launching.plan import WEIGHTS, Plan
from trapline.preparation.archives import READ_ARCHIVES, is_archive, unread_archive
from trapline.preparation.system_files import is_system_folder
from trapline.s3 import is_s3
from trapline.storage import read_json, write_json

KEY_LENGTH = 16
WHOLE = "dataset.json"  # prepare.py writes it last
NO_FILES = ("imagenet", "none", "phase1")  # first weights that are none
FOLLOWED = f"--prepare {FOLLOW_LINKS}=true"
SCHEME = "file://"
PLACE = "{workspace}"  # stands for the temporary folder, which is another one each time


def here(source: str | None) -> Path | None:
    """The place on this machine, a path or a `file://` URI; None for nothing, and for what is in S3."""
    return None if not source or is_s3(source) else Path(source.removeprefix("file://"))


def data_here(data: str | None) -> Path | None:
    """The raw images on this machine that `--data` names; None as well for the demo, which is drawn."""
    return None if data == "demo" else here(data)


def check_sources(plan: Plan) -> None:
    """Raise UsageError where a local folder or file that the plan names is not there, or cannot be read."""
    for name, source in plan.channels.items():
        path = here(source)
        refuse_any(
            [
                (path and not path.exists(), f"--{name} {source}: no such folder or file"),
                (
                    path and name == WEIGHTS and not (path / "weights.json").is_file(),
                    f"--{name} {source}: holds no weights.json; launch/stage_weights.py makes such a folder, "
                    "and --set weights=FILE takes a file of your own",
                ),
            ]
        )
    data = data_here(plan.data)
    folder = data if data and data.is_dir() else None
    if data and not folder:
        unread = unread_archive(data)
        no_archive = f"a file; give a folder, {READ_ARCHIVES}"
        refuse_any(
            [
                (not data.is_file(), f"--data {plan.data}: no such folder"),
                (unread or not is_archive(data.name), f"--data {plan.data}: {unread or no_archive}"),
            ]
        )
    if prepared := here(plan.prepared):
        said, what = f"--prepared {plan.prepared}", "a file; give a folder"
        refuse_any(
            [
                (not prepared.is_dir(), f"{said}: {what if prepared.is_file() else 'no such folder'}"),
                (not is_whole(prepared), f"{said}: holds no {WHOLE}; --data takes raw images"),
            ]
        )
    check_files(plan.prepare_options, plan.trial_s3 or folder)
    if plan.backend == "local":
        refuse_followed_links(plan.prepare_options, folder)
        for name, place in {"prepared": plan.prepared, **plan.channels}.items():
            if path := here(place):
                refuse_links_out_of(f"--{name} {place}", path)


def refuse_followed_links(options: Mapping[str, str], data: Path | None) -> None:
    """Raise UsageError where a container is to follow links that lead out of a folder of its inputs.

    `options`: of prepare.py. `data`: the folder of raw images, where there is one.
    """
    if follows_links(options):
        for path in filter(None, (data, *map(Path, job_files(options, aws=False).values()))):
            if path.is_dir():
                refuse_links_out_of(FOLLOWED, path)


def refuse_links_out_of(said: str, folder: Path) -> None:
    """Raise UsageError, which begins with `said`, where links in the folder lead where no container can."""
    if links := [item.name for item in walk(folder) if item.kind == "outside" or item.link.startswith("/")]:
        raise UsageError(
            f"{said}: a container sees nothing but the folder {folder}, out of which links lead "
            f"({len(links)}, the first {printable(links[0])}); use --backend process, or put what they lead "
            "to into the folder"
        )


def prepared_key(plan: Plan, image: Sequence[str]) -> str:
    """A name for the prepared set: a digest of code, versions, options, and the files' names, sizes, times.

    Files are those of the raw images, and those that options name. What lies in S3 may have changed: with it
    the set is prepared anew each time.

    `image`: what the set is prepared in, where that is a container (`Runtime.key`). Raises TraplineError
    naming a folder of the data that cannot be opened.
    """
    digest = hashlib.sha256(jobs_digest(image).encode())
    digest.update(json.dumps([plan.data, check_prepare_options(plan.prepare_options, {}).digest()]).encode())
    for path in filter(None, (data_here(plan.data), *map(Path, plan.files.values()))):
        for found in walk(path, follow_links=plan.follows_links):
            digest.update(found.line)
    if is_s3(plan.data or "") or reads_s3(plan.prepare_options):
        digest.update(plan.job_name.encode())
    return f"{printable(Path(plan.data or '').name) or 'data'}-{digest.hexdigest()[:KEY_LENGTH]}"


def prepared_identity(prepared: str) -> str:
    """What makes a prepared set the same wherever it lies: what it was made of; else its URI."""
    folder = here(prepared)
    return str(read_json(folder / WHOLE)["fingerprint"]) if folder and is_whole(folder) else prepared


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


def is_whole(folder: Path) -> bool:
    """Whether a prepared set lies there, to its last file."""
    return (folder / WHOLE).is_file()


def keep_prepared(made: Path, target: Path, instead: Path) -> None:
    """Move the new set `made` to `target`, where another launch may have put the same set meanwhile.

    Raises TraplineError where it cannot be kept there, with the reason; it then lies in `instead`.
    """
    try:
        target.parent.mkdir(exist_ok=True)
        _move(made, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and is_whole(target):
            return  # another launch was quicker: the set is the same, for its name says what it was made of
        reason = error.strerror or str(error)
        if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
            reason = str(error.args[0][0][-1])  # of a copy: what the system said of the first file
        if target.is_dir() and not is_whole(target):
            reason = f"a folder without {WHOLE} is there; remove it"
        raise TraplineError(
            f"{target}: the prepared set cannot be kept there ({reason}); {_rescued(made, instead)}"
        ) from None


def _move(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # `prepared` is a link to another disk. Nobody sees a part of the set under its name.
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copytree(made, part)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _rescued(made: Path, instead: Path) -> str:
    """Put the set where it outlives this command; what is to be done then."""
    try:
        made.rename(instead)
    except OSError as error:
        return f"nor in {instead} ({error.strerror})"
    return f"it lies in {instead} now, where --prepared {instead} takes it"


# --- steps of a pipeline that are done -------------------------------------------------------------------


@dataclass(frozen=True)
class StepCache:
    """The steps of one run: a file for each in `folder`. Paths below `workspace` count as the same.

    follow_links: what steps read includes what links lead to that are in it. image: what they run in, where
    that is a container.
    """

    folder: Path
    workspace: Path
    follow_links: bool = False
    image: Sequence[str] = ()

    def digest(self, request: Any, reads: list[str]) -> str:
        """SHA-256 of a request, the state of the files at the URIs that it `reads`, code and versions."""
        states = [tree_state(uri, follow_links=self.follow_links) for uri in sorted(reads)]
        asked = json.dumps([request, states, jobs_digest(self.image)], sort_keys=True, default=str)
        return hashlib.sha256(self._portable(asked)).hexdigest()

    def recall(self, step: str, digest: str) -> dict[str, Any] | None:
        """What Describe said of the step when it was asked the same, if what it left is as it was then."""
        path = self.folder / f"{step}.json"
        if not path.is_file():
            return None
        kept = json.loads(json.dumps(read_json(path)).replace(PLACE, str(self.workspace)))
        if kept["digest"] != digest or any(tree_state(uri) != state for uri, state in kept["left"].items()):
            return None
        return dict(kept["answer"])

    def keep(self, step: str, digest: str, answer: dict[str, Any], writes: list[str]) -> None:
        """Remember that the step is done, and what it left at the URIs that it `writes`."""
        content = {"digest": digest, "answer": answer, "left": {uri: tree_state(uri) for uri in writes}}
        write_json(self.folder / f"{step}.json", json.loads(self._portable(json.dumps(content, default=str))))

    def forget(self, step: str, writes: list[str]) -> None:
        """Remove what an earlier try of the step left: a part of it may be there."""
        (self.folder / f"{step}.json").unlink(missing_ok=True)
        for uri in writes:
            shutil.rmtree(uri.removeprefix(SCHEME), ignore_errors=True)

    def _portable(self, text: str) -> bytes:
        return text.replace(str(self.workspace), PLACE).encode()


def tree_state(uri: str, *, follow_links: bool = False) -> str:
    """A digest of the names, sizes and times of the files at a `file://` URI; else of the text itself.

    `follow_links`: also of what lies where links lead that lead out of the folder. Raises TraplineError
    naming a folder that cannot be opened.
    """
    if not uri.startswith(SCHEME):
        return hashlib.sha256(uri.encode()).hexdigest()
    digest, root = hashlib.sha256(), Path(uri.removeprefix(SCHEME))
    for found in walk(
        root,
        follow_links=follow_links,
        # __pycache__ comes when the code first runs.
        skips=lambda name: name == "__pycache__" or is_system_folder(name),
    ):
        digest.update(found.line)
    return digest.hexdigest()
