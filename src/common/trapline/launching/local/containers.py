"""The local backend: a plan's jobs in containers of an image on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trapline.launching.job_requests import Image
from trapline.launching.local.docker_engine import find_engine
from trapline.launching.local.recording import recorded_requests
from trapline.launching.local.running import run_jobs
from trapline.launching.local.runtime import Runtime
from trapline.launching.local.sources import check_sources
from trapline.launching.plan import Plan

GPU_INSTANCE = "local_gpu"  # what local mode calls a machine whose containers get its GPUs
CPU_INSTANCE = "local"


def launch(plan: Plan) -> None:
    """Run the plan's jobs in containers. Raises TraplineError, KeyboardInterrupt on Ctrl-C."""
    check_sources(plan)
    assert plan.image.uri is not None
    run_jobs(plan, containers(plan.image.uri, [plan.config.weights], plan.instance_count))


def requests_of(plan: Plan) -> list[dict[str, Any]]:
    """The requests that the plan's jobs would be; no engine is needed."""
    return recorded_requests(plan, Runtime(plan.image))


def containers(image: str, weights: Sequence[str], instance_count: int) -> Runtime:
    """What jobs run in. Several instances share no GPU, which local mode refuses.

    weights: what the jobs begin with, of each that has its own.

    Raises TraplineError saying what is missing, with the command to run.
    """
    engine = find_engine(image)
    shared = instance_count > 1
    if shared and engine.gpu:
        print("the GPU is not used: local mode gives it to one instance only", flush=True)
    return Runtime(
        image=Image(image, framework_version="", py_version=""),
        instance=GPU_INSTANCE if engine.gpu and not shared else CPU_INSTANCE,
        engine=engine,
        mounts=weights_mounts(*weights),
    )


def weights_mounts(*weights: str) -> tuple[tuple[str, str], ...]:
    """What containers must see for first weights: files of this machine, and the cache of downloads."""
    return tuple(dict.fromkeys(mount for named in weights for mount in _mounts_of(named)))


def _mounts_of(weights: str) -> tuple[tuple[str, str], ...]:
    if weights == "imagenet":
        from trapline.launching.sdk.docker_internals import TORCH_CACHE

        cache = torch_cache()
        cache.mkdir(parents=True, exist_ok=True)
        return ((str(cache), TORCH_CACHE),)
    path = Path(weights)
    return ((str(path), str(path)),) if path.is_absolute() and path.is_file() else ()


def torch_cache() -> Path:
    """Where torchvision keeps what it has downloaded for this user."""
    if os.environ.get("TORCH_HOME"):
        return Path(os.environ["TORCH_HOME"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
