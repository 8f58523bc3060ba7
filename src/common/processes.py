"""Worker processes: how many, and what each does first."""

import math
import multiprocessing
import os
import threading
from pathlib import Path

import cv2

CGROUPS = Path("/sys/fs/cgroup")  # a container's own group is mounted there


def available_cores() -> int:
    """The cores that this process may use: its affinity or a container's quota can make them fewer.

    A container with a quota sees every core of the machine, and is stopped for the rest of each period when
    its threads have used up their share.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(CGROUPS)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(cgroups: Path) -> float | None:
    """How many cores' time the control group allows (version 2: cpu.max; 1: cpu.cfs_*_us); None: no limit."""
    try:
        if (cgroups / "cpu.max").exists():
            quota, period = (cgroups / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        allowed = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no control groups here, or "max": no limit is known
        return None
    return allowed if allowed > 0 else None


def prepare_worker() -> None:
    """Use one thread, and end when the process that started this one is gone.

    A worker whose parent was killed would wait for work for ever: it holds the pipes' other ends itself. A
    fork server does not help, being kept alive by its own workers.
    """
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
