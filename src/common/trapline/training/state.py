"""What a training job has reached: its history, its best epoch, and whether it is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trapline.cells import write_table
from trapline.config import TrainingConfig
from trapline.errors import TraplineError
from trapline.metrics import BY_NAME, format_value, is_better
from trapline.models.weights import copied_state

Weights = dict[str, Tensor]
Outcome = dict[str, Tensor]  # of a validation, by name: what the class report and the thresholds are made of


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
            self.best_weights = copy_weights(model)
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

    def state(self) -> dict[str, Any]:
        """The fields, for a checkpoint."""
        return dict(vars(self))

    def write_csv(self, path: Path) -> None:
        """Write the history, one row per epoch, with the numbers as the `[METRICS]` lines print them.

        Cells of validation are empty where there was none.
        """
        names = [name for name in BY_NAME if any(name in row for row in self.history)]
        rows = ([format_value(row[name]) if name in row else "" for name in names] for row in self.history)
        write_table(path, names, rows)


def copy_weights(model: nn.Module) -> Weights:
    """A copy of the model's state dict on the CPU, in row-major order."""
    return copied_state(model.state_dict())
