"""What Trapline needs and AWS's deep-learning images lack, with the versions that the tests ran with."""

import re
from importlib import metadata
from pathlib import Path

from common.errors import TraplineError

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
IN_AWS_IMAGE = {"torch", "torchvision"}  # the image's own fit its CUDA; they must not be replaced


def missing_from_aws_image() -> list[str]:
    """Requirement lines, name and version, for Trapline's own dependencies without torch and torchvision.

    Raises TraplineError where the distribution or constraints.txt is not there.
    """
    try:
        declared = metadata.requires("trapline") or []
        pinned = _pins(CONSTRAINTS.read_text(encoding="utf-8"))
    except (metadata.PackageNotFoundError, OSError) as error:
        raise TraplineError(
            f"{error}: run the launcher from a checkout with `pip install -e .`, or give --image-uri"
        ) from None
    names = sorted(_name(line) for line in declared if "extra ==" not in line)
    return [f"{name}=={pinned[name]}" for name in names if name not in IN_AWS_IMAGE]


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def _pins(text: str) -> dict[str, str]:
    pairs = (line.split("==") for line in text.splitlines() if "==" in line)
    return {_name(name): version.strip() for name, version in pairs}
