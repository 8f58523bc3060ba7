"""What a checkpoint holds, and a job going on from it."""

from typing import Any

import torch

from trapline.training.checkpoint import Checkpoints
from trapline.training.distributed import Ranks, from_all, from_first
from trapline.training.loop import Learner
from trapline.training.resources import BatchPlan
from trapline.training.state import TrainingState, copy_weights

RandomState = dict[str, torch.Tensor]  # by device type
Snapshot = dict[str, Any]


def begin_anew(checkpoints: Checkpoints, ranks: Ranks, *, fresh: bool) -> None:
    """Delete what an earlier start of the job has left, where the job is to be `fresh`."""
    if fresh and ranks.is_main:
        checkpoints.clear()


def find_checkpoint(checkpoints: Checkpoints, ranks: Ranks) -> Snapshot | None:
    """The newest checkpoint, on every rank; None without one."""
    state = None
    if ranks.is_main:
        state = checkpoints.load()
    return from_first(state, ranks)  # the checkpoints may lie on the first rank's machine only


def batch_of(state: Snapshot) -> BatchPlan:
    """The batches that the job of a checkpoint went on with."""
    return BatchPlan(*state["batch"])


def restore(learner: Learner, state: Snapshot) -> TrainingState:
    """Put a checkpoint into `learner` and return how far its job had come."""
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.schedule.load_state_dict(state["schedule"])
    learner.scaler.load_state_dict(state["scaler"])
    if learner.lookahead is not None:
        learner.lookahead.restore(state["lookahead"])
    _restore_random_state(state["random"][learner.ranks.rank], learner.execution.device)
    return TrainingState(**state["progress"])


def random_states(device: torch.device, ranks: Ranks) -> list[RandomState]:
    """The states of the random generators of every rank, from which its dropout goes on."""
    own = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(device)
    return from_all(own, ranks)


def _restore_random_state(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def snapshot(learner: Learner, state: TrainingState, random: list[RandomState]) -> Snapshot:
    """The state of the job between two epochs; `random` is that of `random_states`."""
    return {
        "model": copy_weights(learner.model),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": learner.schedule.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "lookahead": None if learner.lookahead is None else learner.lookahead.state(),
        "random": random,
        "progress": state.state(),
        "batch": [learner.config.batch_size, learner.config.accumulation],
    }
