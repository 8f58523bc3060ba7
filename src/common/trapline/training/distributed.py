"""Training by several processes together, on one machine or on several.

torchrun starts the processes (the ranks) and tells each its place in environment variables. Every rank holds
the whole model and takes its share of every step's images; torch's DistributedDataParallel averages the
gradients (Li et al., PyTorch Distributed, 2020). Without torchrun's variables a process is alone, and nothing
in this module does anything.
"""

import contextlib
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trapline.errors import TraplineError, UsageError

Value = TypeVar("Value")
# The longest that a rank waits for the others: one may be fetching the data set, or writing a large model.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model; the local numbers speak of this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where a tensor must lie to be sent to the others."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")


ALONE = Ranks()


def ranks_from(environment: Mapping[str, str]) -> Ranks:
    """The place of this process, from the variables that torchrun sets.

    A WORLD_SIZE that is absent or 1 means alone, whatever the others say. Raises UsageError for variables
    that are missing, no whole numbers, or contradict each other.
    """
    world_size = _whole_number(environment, "WORLD_SIZE", "1")
    if world_size == 1:
        return ALONE
    place = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in place if name not in environment]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {world_size}, but {', '.join(missing)} not set: start train.py with torchrun, "
            "or unset WORLD_SIZE"
        )
    rank, local_rank = (_whole_number(environment, name) for name in ("RANK", "LOCAL_RANK"))
    local_world_size = _whole_number(environment, "LOCAL_WORLD_SIZE", "1")
    if rank >= world_size:
        raise UsageError(f"RANK is {rank}, but must be below WORLD_SIZE ({world_size}): start with torchrun")
    return Ranks(rank, world_size, local_rank, max(1, local_world_size))


def _whole_number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(name, default)
    if not text.isdecimal() or (name == "WORLD_SIZE" and int(text) < 1):
        raise UsageError(f"{name}: {text!r} is not a number of processes; torchrun sets it, or unset it")
    return int(text)


@contextlib.contextmanager
def joined(ranks: Ranks) -> Iterator[None]:
    """Connect the ranks for the length of the block, in which rank 0 alone prints to stdout.

    The block ends for all ranks together. Where one fails it leaves at once, and those that wait for it learn
    it from the broken connection, or after PATIENCE; they end with exit code 1. Raises TraplineError when the
    ranks do not find each other, UsageError for more of them than GPUs.
    """
    if ranks.world_size == 1:
        yield
        return
    _connect(ranks)
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(sys.stdout if ranks.is_main else nowhere),
        ):
            yield
        dist.barrier()
    except RuntimeError as error:
        broken = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
        if not isinstance(error, dist.DistError) and not any(text in str(error).lower() for text in broken):
            raise
        # Not a TraplineError: its message would take the place of the failed rank's in SageMaker's
        # `output/failure`.
        reason = " ".join(str(error).splitlines()[:1])
        print(
            f"error: rank {ranks.rank} of {ranks.world_size} has lost the others; look for the message of "
            f"the one that failed first ({reason})",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(1) from None
    finally:
        dist.destroy_process_group()


def _connect(ranks: Ranks) -> None:
    cuda = torch.cuda.is_available()
    if cuda and ranks.local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"LOCAL_RANK is {ranks.local_rank}, but this machine has {torch.cuda.device_count()} GPUs: "
            "start one process for each GPU (torchrun --nproc-per-node)"
        )
    if cuda:
        torch.cuda.set_device(ranks.device)
    try:
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            rank=ranks.rank,
            world_size=ranks.world_size,
            timeout=PATIENCE,
            device_id=ranks.device if cuda else None,
        )
    except RuntimeError as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = " ".join(str(error).splitlines()[:1])
        raise TraplineError(
            f"rank {ranks.rank} of {ranks.world_size} cannot meet the others at MASTER_ADDR:MASTER_PORT "
            f"{address} ({reason}); is the port free, and can the machines reach each other?"
        ) from error


def seed_dropout(seed: int, ranks: Ranks) -> None:
    """Let each rank draw its own dropout, from (seed, rank); call it when the model has been built.

    Rank 0 draws on, as a process alone does.
    """
    if not ranks.is_main:
        state = np.random.SeedSequence([seed, ranks.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))


def parallel(model: nn.Module, ranks: Ranks) -> DistributedDataParallel | None:
    """`model` as it is called in training, so that its gradients are averaged over ranks; None when alone.

    All ranks take over rank 0's tensors. Afterwards buffers are left alone: see average_running_statistics.
    """
    if ranks.world_size == 1:
        return None
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # older torch
    options: dict[str, Any] = {name: False}
    device_ids = [ranks.local_rank] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=device_ids, **options)


@torch.no_grad()
def average_running_statistics(model: nn.Module, ranks: Ranks) -> None:
    """Replace the running means and variances of batch normalisation by their means over the ranks.

    In training each rank normalises with the statistics of its own images alone, so a model with batch
    normalisation trains differently on one rank than on two with half the batch each; layer normalisation
    does not. Averaging makes the ranks hold the same model again.
    """
    statistics = ("running_mean", "running_var")
    buffers = [buffer for name, buffer in model.named_buffers() if name.endswith(statistics)]
    if ranks.world_size == 1 or not buffers:
        return
    means = total(torch.cat([buffer.flatten() for buffer in buffers]), ranks) / ranks.world_size
    for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def check_same_weights(model: nn.Module, ranks: Ranks, epoch: int) -> None:
    """Say the SHA-256 of the tensors that all ranks hold after `epoch`.

    Averaged gradients keep the ranks alike bit for bit, whatever the device. Raises TraplineError where they
    are not: what rank 0 would write is then the model of its own share of the images.
    """
    if ranks.world_size == 1:
        return
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    digests = from_all(digest.hexdigest(), ranks)
    odd = [str(rank) for rank, other in enumerate(digests) if other != digests[0]]
    if odd:
        raise TraplineError(
            f"after epoch {epoch} rank {', '.join(odd)} holds other weights than rank 0: a machine "
            "calculates wrongly, or their software differs; the checkpoint of the epoch before is kept, so "
            "start the same job again on other machines"
        )
    print(f"ranks: all {ranks.world_size} hold the same weights, sha256 {digests[0]}", flush=True)


def once_per_machine(work: Callable[[], Value], ranks: Ranks) -> Value:
    """What `work` returns on the first rank of each machine, on all its ranks: they wait for it.

    It must be picklable. Where `work` raises, that rank raises, and all others end with exit code 1, on all
    machines: none waits for what will not come.
    """
    if ranks.world_size == 1:
        return work()
    done, failure = None, None
    if ranks.local_rank == 0:
        try:
            done = work()
        except Exception as error:  # whatever it is: the others must be told before it goes its way
            failure = error
    ended = from_all((done, failure is not None), ranks)
    if failure is not None:
        raise failure
    failed = [str(rank) for rank, (_, has_failed) in enumerate(ended) if has_failed]
    if failed:
        print(
            f"error: rank {ranks.rank} of {ranks.world_size} ends, for rank {', '.join(failed)} has failed; "
            "look for its message",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(1)
    return cast(Value, ended[ranks.rank - ranks.local_rank][0])


def total(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum of `values`, of any shape, over the ranks; `values` itself is left as it is."""
    if ranks.world_size == 1:
        return values
    summed = values.detach().to(ranks.device, copy=True)
    dist.all_reduce(summed)
    return summed.to(values.device)


def gather_rows(rows: Tensor, shares: list[int], sizes: list[int], ranks: Ranks) -> Tensor:
    """All ranks' rows in the order of the undivided batches, without the padding.

    `rows` (sum of shares, ...) are this rank's results, `shares` the rows of each batch that every rank has,
    padding included, and `sizes` the images of each batch over all ranks (see EpochBatches). Returns
    (sum of sizes, ...) on the device of `rows`.
    """
    if ranks.world_size == 1:
        return rows
    own = rows.to(ranks.device).contiguous()
    gathered = [torch.empty_like(own) for _ in range(ranks.world_size)]
    dist.all_gather(gathered, own)
    return undivided(torch.stack(gathered), shares, sizes).to(rows.device)


def undivided(gathered: Tensor, shares: list[int], sizes: list[int]) -> Tensor:
    """(ranks, sum of shares, ...) to (sum of sizes, ...): the ranks' rows in turn, batch for batch."""
    batches = zip(gathered.split(shares, dim=1), sizes, strict=True)
    return torch.cat([batch.transpose(0, 1).flatten(0, 1)[:size] for batch, size in batches])


def from_first(value: Value, ranks: Ranks) -> Value:
    """Rank 0's `value`, on every rank; it must be picklable, its tensors on the CPU."""
    if ranks.world_size == 1:
        return value
    box = [value if ranks.is_main else None]
    dist.broadcast_object_list(box, src=0)
    return cast(Value, box[0])


def from_all(value: Value, ranks: Ranks) -> list[Value]:
    """Each rank's `value`, in the order of the ranks; picklable, its tensors on the CPU."""
    if ranks.world_size == 1:
        return [value]
    received: list[Any] = [None] * ranks.world_size
    dist.all_gather_object(received, value)
    return received
