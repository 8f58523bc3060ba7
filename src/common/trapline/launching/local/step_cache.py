"""What a pipeline's step was asked for and what it left, so that a continued run need not do it again.

A step is asked for the same when its request, the files that it reads and the versions of what runs it are
the same, and so is the code that jobs are given. Files are known by name, size and time of change.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.launching.local.user_files import walk
from trapline.launching.staging import jobs_digest
from trapline.preparation.system_files import is_system_folder
from trapline.storage import read_json, write_json

SCHEME = "file://"
BYTECODE = "__pycache__"  # comes when the code first runs
PLACE = "{workspace}"  # stands for the temporary folder, which is another one each time


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
        asked = [request, states, jobs_digest(self.image)]
        return hashlib.sha256(self._portable(json.dumps(asked, sort_keys=True, default=str))).hexdigest()

    def recall(self, step: str, digest: str) -> dict[str, Any] | None:
        """What Describe said of the step when it was asked the same, if what it left is as it was then."""
        path = self.folder / f"{step}.json"
        if not path.is_file():
            return None
        kept = read_json(path)
        if kept["digest"] != digest:
            return None
        said: dict[str, Any] = json.loads(json.dumps(kept["answer"]).replace(PLACE, str(self.workspace)))
        left = kept["left"].items()
        unchanged = all(tree_state(uri.replace(PLACE, str(self.workspace))) == state for uri, state in left)
        return said if unchanged else None

    def keep(self, step: str, digest: str, answer: dict[str, Any], writes: list[str]) -> None:
        """Remember that the step is done, and what it left at the URIs that it `writes`."""
        content = {"digest": digest, "answer": answer, "left": {uri: tree_state(uri) for uri in writes}}
        text = self._portable(json.dumps(content, default=str))
        write_json(self.folder / f"{step}.json", json.loads(text))

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
    digest = hashlib.sha256()
    if not uri.startswith(SCHEME):
        return hashlib.sha256(uri.encode()).hexdigest()
    root = Path(uri.removeprefix(SCHEME))
    for found in walk(root, follow_links=follow_links, skips=_does_not_count):
        digest.update(found.line)
    return digest.hexdigest()


def _does_not_count(folder: str) -> bool:
    return folder == BYTECODE or is_system_folder(folder)
