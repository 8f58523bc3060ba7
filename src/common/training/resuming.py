"""What a checkpoint holds, and a job going on from it."""

from typing import Any

import torch

from common.training.checkpoint import Checkpoints
from common.training.distributed import Ranks, from_all, from_first
from common.training.loop import Learner
from common.training.progress import Progress, copy_weights

RandomState = dict[str, torch.Tensor]  # by device type


def resume_or_start(learner: Learner, checkpoints: Checkpoints, *, fresh: bool) -> Progress:
    """Put the newest checkpoint into `learner`, on every rank, and return how far it had come.

    Without a checkpoint, or with `fresh`, which deletes those there are, the job is at its beginning.
    """
    state, ranks = None, learner.ranks
    if fresh and ranks.first:
        checkpoints.clear()
    if ranks.first:
        state = checkpoints.load()
    state = from_first(state, ranks)  # the checkpoints may lie on the first rank's machine only
    if state is None:
        return Progress()
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.schedule.load_state_dict(state["schedule"])
    learner.scaler.load_state_dict(state["scaler"])
    _restore_random_state(state["random"][ranks.rank], learner.execution.device)
    reached = Progress(**state["progress"])
    print(f"resumed after epoch {reached.epoch} from {checkpoints.folder}", flush=True)
    return reached


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


def snapshot(learner: Learner, state: Progress, random: list[RandomState]) -> dict[str, Any]:
    """The state of the job between two epochs; `random` is that of `random_states`."""
    return {
        "model": copy_weights(learner.model),
        "optimizer": learner.optimizer.state_dict(),
        "schedule": learner.schedule.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "random": random,
        "progress": state.state(),
    }
