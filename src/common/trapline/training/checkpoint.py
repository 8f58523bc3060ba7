"""What a job has reached, checkpoints of it that survive a kill at any moment, and a job going on from one.

A checkpoint is two files: the state, and then a small JSON file with its SHA-256, which makes it valid.
Both are put in place by a rename, so a part of a file is never seen under the final name. The two newest are
kept; one that does not match its digest is set aside and the one before it is used.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from trapline.config import TrainingConfig
from trapline.errors import TraplineError
from trapline.metrics import BY_NAME, format_value, is_better
from trapline.models.weights import copied_state
from trapline.storage import atomic_file, file_digest, read_json, write_json, write_table
from trapline.training.distributed import Ranks, from_all, from_first
from trapline.training.loop import Learner

Weights = dict[str, Tensor]
Outcome = dict[str, Tensor]  # of a validation, by name: what the class report and the thresholds are made of
RandomState = dict[str, Tensor]  # by device type
Snapshot = dict[str, Any]


@dataclass
class TrainingState:
    """The state of a job between two epochs; everything in it goes into the checkpoint."""

    history: list[dict[str, float]] = field(default_factory=list)  # one row of metrics per completed epoch
    best_epoch: int = 0
    best_value: float | None = None
    best_weights: Weights = field(default_factory=dict)
    reference: float | None = None  # what patience compares with: the last value better by min_delta
    stale_validations: int = 0
    best_outcome: Outcome = field(default_factory=dict)  # of validation at the best epoch

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return len(self.history)

    def finished(self, config: TrainingConfig) -> bool:
        """Whether all epochs are done or patience has run out."""
        return self.epoch >= config.epochs or self.out_of_patience(config)

    def out_of_patience(self, config: TrainingConfig) -> bool:
        """Whether the last `patience` validations brought nothing better."""
        return config.patience is not None and self.stale_validations >= config.patience

    def add(
        self,
        row: dict[str, float],
        model: nn.Module,
        config: TrainingConfig,
        outcome: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record an epoch, and keep its weights and `outcome` where it is the best so far.

        An epoch without validation, whose row lacks `best_metric`, is recorded alone.
        """
        self.history.append(row)
        if config.best_metric not in row:
            return
        value = row[config.best_metric]
        if is_better(config.best_metric, value, self.best_value):
            self.best_epoch, self.best_value = self.epoch, value
            self.best_weights = copied_state(model.state_dict())
            self.best_outcome = dict(outcome or {})
        if is_better(config.best_metric, value, self.reference, config.min_delta):
            self.reference, self.stale_validations = value, 0
        else:
            self.stale_validations += 1

    def require_best(self, config: TrainingConfig, output: Path) -> None:
        """Raise TraplineError where no epoch had a finite `best_metric`: there is no model to keep.

        `output` is the folder with metrics.csv, which says what the epochs were like.
        """
        if self.best_epoch:
            return
        raise TraplineError(
            f"no epoch of {self.epoch} has a finite {config.best_metric}, so that none is the best and no "
            f"model is written: look at {output / 'metrics.csv'}, then lower lr (now {config.lr:g}), set "
            f"clip_norm (now {config.clip_norm}), or choose another best_metric"
        )

    def write_csv(self, path: Path) -> None:
        """Write the history, one row per epoch, with the numbers as the `[METRICS]` lines print them.

        Cells of validation are empty where there was none.
        """
        names = [name for name in BY_NAME if any(name in row for row in self.history)]
        rows = ([format_value(row[name]) if name in row else "" for name in names] for row in self.history)
        write_table(path, names, rows)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one job, in a folder named after the hash of its code, data and configuration."""

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        """Where this job's checkpoints lie."""
        return self.root / self.key[:16]

    def save(self, epoch: int, state: Snapshot) -> None:
        """Write the state after `epoch` and forget all but the newest two."""
        path = self.folder / f"epoch-{epoch:05d}.pt"
        with atomic_file(path) as file:
            torch.save(state, file)
        write_json(path.with_suffix(".json"), {"sha256": file_digest(path), "epoch": epoch})
        for old in self._markers()[2:]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def load(self) -> Snapshot | None:
        """The newest state that is whole, on the CPU, or None. Damaged ones are renamed and reported."""
        for marker in self._markers():
            path = marker.with_suffix(".pt")
            if path.exists() and file_digest(path) == _promised_digest(marker):
                return cast(Snapshot, torch.load(path, map_location="cpu", weights_only=True))
            print(f"checkpoint: {path} is damaged: set aside, looking for the one before it", flush=True)
            for file in (path, marker):
                if file.exists():
                    file.replace(file.with_name(f"{file.name}.damaged"))
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


def job_key(*digests: str | None) -> str:
    """One digest for everything that can change the trained weights: code, data, configuration, weights."""
    return hashlib.sha256("\n".join(digest or "" for digest in digests).encode()).hexdigest()


def find_checkpoint(checkpoints: Checkpoints, ranks: Ranks) -> Snapshot | None:
    """The newest checkpoint, on every rank; None without one."""
    # The checkpoints may lie on the first rank's machine only.
    return from_first(checkpoints.load() if ranks.is_main else None, ranks)


def restore(learner: Learner, state: Snapshot) -> TrainingState:
    """Put a checkpoint into `learner` and return how far its job had come."""
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.schedule.load_state_dict(state["schedule"])
    learner.scaler.load_state_dict(state["scaler"])
    if learner.lookahead is not None:
        learner.lookahead.restore(state["lookahead"])
    random = state["random"][learner.ranks.rank]
    torch.set_rng_state(random["cpu"])
    if learner.execution.device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"], learner.execution.device)
    return TrainingState(**state["progress"])


def random_states(learner: Learner) -> list[RandomState]:
    """The states of the random generators of every rank, from which its dropout goes on."""
    own = {"cpu": torch.get_rng_state()}
    if learner.execution.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(learner.execution.device)
    return from_all(own, learner.ranks)


def snapshot(learner: Learner, state: TrainingState, random: list[RandomState]) -> Snapshot:
    """The state of the job between two epochs; `random` is that of `random_states`."""
    return {
        "model": copied_state(learner.model.state_dict()),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": learner.schedule.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "lookahead": None if learner.lookahead is None else learner.lookahead.state(),
        "random": random,
        "progress": dict(vars(state)),
        "batch": [learner.config.batch_size, learner.config.accumulation],
    }
