"""Worker processes: how many, and what each does first."""

import multiprocessing
import os
import threading

import cv2

from trapline.printing import escape_output


def available_cores() -> int:
    """The cores that this process may use: its affinity or a container's quota can make them fewer.

    A container with a quota sees every core of the machine, and is stopped for the rest of each period when
    its threads have used up their share.
    """
    import joblib

    return int(joblib.cpu_count())


def prepare_worker() -> None:
    """Use one thread, escape what is printed, and end when the process that started this one is gone.

    A worker whose parent was killed would wait for work for ever: it holds the pipes' other ends itself. A
    fork server does not help, being kept alive by its own workers.
    """
    cv2.setNumThreads(1)
    escape_output()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
