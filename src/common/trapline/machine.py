"""What machine this is, for what is measured once and kept, and where such things are kept."""

import os
import platform
from pathlib import Path

CPU_FACTS = ("vendor_id", "model name", "cpu family", "model", "stepping", "CPU part", "CPU implementer")


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and whatever else tells it from others; as much as the system says."""
    facts: dict[str, str] = {}
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name in CPU_FACTS:
            facts.setdefault(name, value)
    found = [facts[name] for name in CPU_FACTS if name in facts] or [platform.processor()]
    return " ".join([platform.machine(), *found])


def cache_folder() -> Path | None:
    """Where Trapline keeps what it can find out again; None where there is no home.

    TRAPLINE_CACHE, else XDG_CACHE_HOME/trapline, else ~/.cache/trapline.
    """
    own, base = os.environ.get("TRAPLINE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    try:
        return (Path(base) if base else Path.home() / ".cache") / "trapline"
    except RuntimeError:  # a user without a home, as in some containers
        return None
