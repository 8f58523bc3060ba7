"""What the checker finds, and how it says so."""

from collections.abc import Sequence
from dataclasses import dataclass

from trapline.errors import UsageError
from trapline.launching.checking.secret_patterns import redacted

SHOWN = 20  # findings in an error
VALUE_LENGTH = 60  # characters of a value in a finding


@dataclass(frozen=True)
class Finding:
    """One thing that would go wrong.

    step: of a pipeline, or the request, or "source". field: its path, as in ResourceConfig.InstanceCount, or
    FILE:LINE. rule: a word for what is not kept. detail: what is wrong and what to do.
    """

    step: str
    field: str
    rule: str
    detail: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.step}: {self.field}: {self.detail} ({self.rule})"


def shown(value: object) -> str:
    """A value as it may stand in a finding: short, and without what looks like a secret."""
    text = repr(redacted(value) if isinstance(value, str) else value)
    return text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}..."


def listed(findings: Sequence[Finding]) -> str:
    """The first findings, a line each, and how many there are."""
    lines = [str(finding) for finding in findings[:SHOWN]]
    rest = len(findings) - len(lines)
    return "\n".join([*lines, *([f"and {rest} more"] if rest else [])])


def refuse(findings: Sequence[Finding]) -> None:
    """Raise UsageError listing the findings, where there are any."""
    if findings:
        number = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
        raise UsageError(f"not started, nothing was sent: {number}\n{listed(findings)}")
