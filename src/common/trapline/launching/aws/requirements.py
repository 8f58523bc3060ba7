"""What Trapline needs and AWS's deep-learning images lack, with the versions that the tests ran with."""

import re
import tomllib
from pathlib import Path

from trapline.errors import TraplineError
from trapline.launching import checkout

# The checkout's own lists: what an installed distribution says of itself is as old as its installation.
PROJECT, CONSTRAINTS = "pyproject.toml", "constraints.txt"
IN_AWS_IMAGE = {"torch", "torchvision"}  # the image's own fit its CUDA; they must not be replaced


def missing_from_aws_image() -> list[str]:
    """Requirement lines, name and version, for Trapline's own dependencies without torch and torchvision.

    Raises TraplineError where pyproject.toml or constraints.txt is not there, or a version is not in it.
    """
    root = checkout.root()
    declared = tomllib.loads(_text(root / PROJECT))["project"]["dependencies"]
    pinned = _pins(_text(root / CONSTRAINTS))
    names = sorted({_name(line) for line in declared} - IN_AWS_IMAGE)
    unpinned = [name for name in names if name not in pinned]
    if unpinned:
        raise TraplineError(
            f"{root / CONSTRAINTS}: no version of {', '.join(unpinned)}; add it, or leave out --dlc"
        )
    return [f"{name}=={pinned[name]}" for name in names]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraplineError(
            f"{path}: {error.strerror}; run the launcher from a checkout of Trapline, or leave out --dlc"
        ) from None


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def _pins(text: str) -> dict[str, str]:
    pairs = (line.split("==") for line in text.splitlines() if "==" in line)
    return {_name(name): version.strip() for name, version in pairs}
