"""The peak memory of a command and all processes below it."""

import subprocess
import time
from pathlib import Path

import psutil

SECONDS_BETWEEN_LOOKS = 0.05


def run_measured(command: list[object]) -> tuple[float, float]:
    """Run the command, which must end with 0; seconds, and the peak memory of all its processes, MiB."""
    started = time.perf_counter()
    process = psutil.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous(process))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    assert process.returncode == 0
    return time.perf_counter() - started, peak


def anonymous(process: psutil.Process) -> float:
    """Memory of a process and all below it that is no file's content, MiB: what cannot be given back."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            status = Path(f"/proc/{member.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended in between
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return total / 2**10
