"""The local backend: SageMaker's local mode, in containers of an image on this machine.

It takes the road of `launch.local.processes`: the same folders, the same files in them, the same code.
"""

import os
from pathlib import Path

from launch.flags import Plan
from launch.jobs import Image
from launch.local.docker_engine import find_engine
from launch.local.processes import Kind, print_requests, run_jobs
from launch.local.sources import check_sources

GPU_INSTANCE = "local_gpu"  # what local mode calls a machine whose containers get its GPUs
CPU_INSTANCE = "local"


def launch(plan: Plan) -> None:
    """Run the plan's jobs in containers. Raises TraplineError, KeyboardInterrupt on Ctrl-C."""
    check_sources(plan)
    if plan.dry_run:  # it needs no engine
        print_requests(plan, Kind(plan.image))
    else:
        assert plan.image.uri is not None
        run_jobs(plan, containers(plan.image.uri, plan.config.weights, plan.instance_count))


def containers(image: str, weights: str, instance_count: int) -> Kind:
    """What jobs run in that begin with `weights`. Several instances share no GPU, which local mode refuses.

    Raises TraplineError saying what is missing, with the command to run.
    """
    engine = find_engine(image)
    several = instance_count > 1
    if several and engine.gpu:
        print("the GPU is not used: local mode gives it to one instance only", flush=True)
    return Kind(
        image=Image(image, framework_version="", py_version=""),
        instance=GPU_INSTANCE if engine.gpu and not several else CPU_INSTANCE,
        engine=engine,
        mounts=weights_mounts(weights),
    )


def weights_mounts(weights: str) -> tuple[tuple[str, str], ...]:
    """What a container must see for its first weights: a file of this machine, or the cache of downloads."""
    if weights == "imagenet":
        from launch.sdk.docker_internals import TORCH_CACHE

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
