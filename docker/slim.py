"""Leave out of /opt/venv what the image never uses. Argument: cuda; or cpu, which needs still less.

Always: test files; headers and static libraries, for there is no C compiler (CUDA's own stay for its run-time
compiler); and Triton, which needs one, so that torch.compile is off. With cpu, where pip took PyTorch's CUDA
build: the CUDA libraries that the program loader does not ask for. An index that has the CPU build
(PIP_EXTRA_INDEX_URL) saves much more.
"""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
COMPILERS = ["triton"]
FOR_GPUS = ["cuda-bindings", "cuda-pathfinder"]
FOLDERS = ("tests", "test", "include")
FILES = ("*.a", "*.h", "*.hpp", "*.cuh", "*.pyx", "*.pxd", "conftest.py")
# What this maps is what a CPU needs: training in fp32 and bf16, linear algebra, transforms, gloo.
EXERCISE = """
import torch, torchvision
import torch.distributed as distributed
distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:29511", rank=0, world_size=1)
model = torch.nn.parallel.DistributedDataParallel(torchvision.models.resnet18())
with torch.autocast("cpu", torch.bfloat16):
    model(torch.randn(2, 3, 64, 64)).sum().backward()
torch.optim.AdamW(model.parameters(), foreach=True).step()
torch.linalg.svd(torch.randn(4, 4)), torch.fft.rfft(torch.randn(8)), torchvision.ops.nms
print(open("/proc/self/maps").read())
"""


def main(build: str) -> None:
    """Remove, then see that what the exercise needs is still there."""
    uninstall(COMPILERS)
    for path in list(unused_files()):
        if build == "cpu" or SITE / "nvidia" not in path.parents:
            remove(path)
    if build == "cpu":
        uninstall(FOR_GPUS)
        needed = mapped_files()
        for path in (SITE / "nvidia").rglob("*.so*"):
            if path.resolve() not in needed:
                remove(path)
    mapped_files()


def unused_files() -> Iterator[Path]:
    """Tests, headers and static libraries."""
    for pattern in FOLDERS:
        yield from (path for path in SITE.rglob(pattern) if path.is_dir())
    for pattern in FILES:
        yield from SITE.rglob(pattern)


def mapped_files() -> set[Path]:
    """The files that the program loader maps for work on a CPU."""
    done = subprocess.run([sys.executable, "-c", EXERCISE], stdout=subprocess.PIPE, text=True, check=True)
    return {Path(line.split(maxsplit=5)[5]) for line in done.stdout.splitlines() if "/" in line}


def uninstall(names: list[str]) -> None:
    """Remove distributions where they are installed."""
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    for name in installed.intersection(names):
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", name], check=True)


def remove(path: Path) -> None:
    """Remove a folder, or a file that may be gone with its folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
