"""Worker processes: how many, and what each does first."""

import multiprocessing
import os
import threading

import cv2


def available_cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
