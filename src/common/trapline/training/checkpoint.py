"""Checkpoints that survive a kill at any moment.

A checkpoint is two files: the state, and then a small JSON file with its SHA-256, which makes it valid.
Both are put in place by a rename, so a part of a file is never seen under the final name. The two newest are
kept; one that does not match its digest is set aside and the one before it is used.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trapline.errors import TraplineError
from trapline.storage import atomic_file, file_digest, read_json, write_json

KEPT = 2
KEY_LENGTH = 16


def job_key(*digests: str | None) -> str:
    """One digest for everything that can change the trained weights: code, data, configuration, weights."""
    return hashlib.sha256("\n".join(digest or "" for digest in digests).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one job, in a folder named after the hash of its code, data and configuration."""

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        """Where this job's checkpoints lie."""
        return self.root / self.key[:KEY_LENGTH]

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` and forget all but the newest two."""
        path = self.folder / f"epoch-{epoch:05d}.pt"
        with atomic_file(path) as file:
            torch.save(state, file)
        write_json(path.with_suffix(".json"), {"sha256": file_digest(path), "epoch": epoch})
        for old in self._markers()[KEPT:]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, on the CPU, or None. Damaged ones are renamed and reported."""
        for marker in self._markers():
            path = marker.with_suffix(".pt")
            if path.exists() and file_digest(path) == _promised_digest(marker):
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
            _set_aside(marker, path)
        return None

    def clear(self) -> None:
        """Delete this job's checkpoints, so that a kill in between never leaves half of them."""
        if not self.folder.exists():
            return
        doomed = self.folder.with_name(f".{self.folder.name}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def _markers(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.json"), reverse=True)


def _promised_digest(marker: Path) -> str | None:
    try:
        return str(read_json(marker)["sha256"])
    except (TraplineError, OSError, KeyError, TypeError) as error:
        print(f"checkpoint: {marker}: {error}", flush=True)
        return None


def _set_aside(marker: Path, path: Path) -> None:
    print(f"checkpoint: {path} is damaged: set aside, looking for the one before it", flush=True)
    for file in (path, marker):
        if file.exists():
            file.replace(file.with_name(f"{file.name}.damaged"))
