"""The versions that a result was made with."""

import platform
from importlib import metadata

import common


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Trapline, Python and the named distributions; those not installed are left out."""
    found = {"trapline": common.__version__, "python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
