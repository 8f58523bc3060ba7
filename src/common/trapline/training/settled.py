"""The speed that a training job takes: chosen before its first batch, and never again."""

from typing import Any

from trapline.config import TrainingConfig
from trapline.storage import write_json
from trapline.training.checkpoint import Checkpoints
from trapline.training.distributed import Ranks, from_first
from trapline.training.execution import Execution, possible_executions, training_device
from trapline.training.setup import Data, Start
from trapline.training.speed import Speed, Work, choose_speed, read_speed, speed_from

FILE = "speed.json"  # among the job's checkpoints
VALIDATING = 1 / 3  # what an image costs in validation, of what it costs in training


def settled_speed(
    config: TrainingConfig, start: Start, data: Data, checkpoints: Checkpoints, ranks: Ranks, *, anew: bool
) -> Speed:
    """The choice of the job's first start, on every rank; at the first start it is made and written.

    Precisions round differently: a job that is killed and goes on ends with the same bytes only in the one
    that it began in. `anew`: nothing counts that an earlier job has measured.
    """
    device = training_device(ranks)
    ways = possible_executions(device, config.precision, config.channels_last)
    speed = None
    if ranks.is_main:
        speed = _written(checkpoints, ways) or _chosen(ways, config, start, data, ranks, anew=anew)
        write_json(checkpoints.folder / FILE, speed.record())
    record: dict[str, Any] = from_first({} if speed is None else speed.record(), ranks)
    chosen = speed_from(record)
    print(chosen, flush=True)
    return chosen


def _written(checkpoints: Checkpoints, ways: list[Execution]) -> Speed | None:
    """What an earlier start wrote; what it was on cannot be had where the device is of another kind."""
    written = read_speed(checkpoints.folder / FILE)
    possible = {(way.precision, way.channels_last) for way in ways}
    if written is None or (written.precision, written.channels_last) in possible:
        return written
    print(
        f"note: the job began in {written.precision} on {written.device}, which this machine cannot do: what "
        "it ends with is not what it would have been there",
        flush=True,
    )
    return None


def _chosen(
    ways: list[Execution], config: TrainingConfig, start: Start, data: Data, ranks: Ranks, *, anew: bool
) -> Speed:
    assert isinstance(config.batch_size, int)
    work = Work(
        kind="training",
        architecture=config.arch,
        size=config.image_size,
        batch=config.batch_size,
        images=_images(config, data) / ranks.world_size,
        ranks=ranks.local_world_size,
    )
    return choose_speed(
        ways, work, start.model, start.normalisation, deterministic=config.deterministic, anew=anew
    )


def _images(config: TrainingConfig, data: Data) -> float:
    """How many images the job trains on, with those of its validations at what they cost."""
    validations = -(-config.epochs // config.validate_every)
    return config.epochs * data.train.batches.rows + VALIDATING * validations * data.val.batches.rows
