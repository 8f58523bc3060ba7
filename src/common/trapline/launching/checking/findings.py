"""What the checker looks at, requests whose variables are settled, and what it finds in them.

What looks like a credential, by its form, is named in a finding, never shown.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.errors import UsageError

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


def refuse(findings: Sequence[Finding]) -> None:
    """Raise UsageError listing the findings, the first of them a line each, where there are any."""
    if findings:
        lines = [f"not started, nothing was sent: {len(findings)} finding{'s' if len(findings) > 1 else ''}"]
        lines += map(str, findings[:SHOWN])
        if len(findings) > SHOWN:
            lines.append(f"and {len(findings) - SHOWN} more")
        raise UsageError("\n".join(lines))


@dataclass(frozen=True)
class Request:
    """A request in which every variable is settled.

    region: of the jobs, where known. installs: the code comes with a requirements.txt, for AWS's image.
    current: made by the code that checks it; else its metrics and hyperparameters may be of another version.
    """

    step: str
    operation: str
    parameters: Mapping[str, Any]
    region: str | None = None
    installs: bool = False
    current: bool = True

    def found(self, field: str, rule: str, detail: str) -> Finding:
        """A finding of this request."""
        return Finding(self.step, field, rule, detail)


@dataclass(frozen=True)
class Training:
    """A training specification, of a job or of a tuner. prefix: of its fields in the request."""

    request: Request
    prefix: str
    body: Mapping[str, Any]
    hyperparameters: str  # the member's name

    @property
    def values(self) -> Mapping[str, Any]:
        """Its hyperparameters, none where no map of them is."""
        return at(self.body, self.hyperparameters, Mapping) or {}

    def found(self, field: str, rule: str, detail: str) -> Finding:
        """A finding of this specification."""
        return self.request.found(f"{self.prefix}{field}", rule, detail)


def trainings(request: Request) -> Iterator[Training]:
    """The training specifications of a request."""
    if request.operation == "CreateTrainingJob":
        yield Training(request, "", request.parameters, "HyperParameters")
    elif request.operation == "CreateHyperParameterTuningJob":
        bodies = {"TrainingJobDefinition.": request.parameters.get("TrainingJobDefinition")}
        for number, body in enumerate(items_at(request.parameters, "TrainingJobDefinitions")):
            bodies[f"TrainingJobDefinitions[{number}]."] = body
        for prefix, body in bodies.items():
            if isinstance(body, Mapping):
                yield Training(request, prefix, body, "StaticHyperParameters")


def value_at(value: Any, path: str) -> Any:
    """What lies at a path of names, or None where nothing does."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def at(value: Any, path: str, kind: type | tuple[type, ...]) -> Any:
    """What lies at a path of names, or None where nothing of that kind does; True is no number."""
    found = value_at(value, path)
    return found if isinstance(found, kind) and not isinstance(found, bool) else None


def items_at(value: Any, path: str) -> Sequence[Any]:
    """The items of the list at a path of names; none where no list is."""
    return at(value, path, (list, tuple)) or ()


def below(field: str, name: str) -> str:
    """The path of a member of `field`."""
    return f"{field}.{name}" if field else name


def all_parts(value: Any, field: str = "", *, without: str = "") -> Iterator[tuple[str, Any]]:
    """Field and content of a request and of all in it, the outer first; members named `without` left out."""
    yield field, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name != without:
                yield from all_parts(item, below(field, name), without=without)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from all_parts(item, f"{field}[{number}]", without=without)


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """Field and content of each text of a request, keys of maps left out."""
    yield from ((field, part) for field, part in all_parts(value) if isinstance(part, str))


# --- credentials --------------------------------------------------------------------------------------------

# Kinds of credentials whose form alone gives them away. AWS's own examples end in EXAMPLE. None may begin
# anew within what an earlier place has looked through: long lines of strangers are searched.
PATTERNS = {
    "an AWS access key id": re.compile(r"\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE\b)[A-Z0-9]{16}\b"),
    "an AWS secret key": re.compile(
        r"(?i)\baws_?(?:secret_?access_?key|secret_?key|session_?token)\b[\"']?\s*[:=]\s*[\"']?"
        r"(?![A-Za-z0-9/+]{0,33}EXAMPLE)[A-Za-z0-9/+=]{40,}"
    ),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{34,}\b"),
    "a Google API key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "an API key": re.compile(r"(?<![A-Za-z0-9_-])sk-(?:[A-Za-z]{1,32}-){0,4}[A-Za-z0-9_-]{32,}"),
    "a JSON web token": re.compile(
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    ),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@{}\"']+:[^\s/:@{}\"']{3,}@"),
}


def secrets_in(text: str) -> Iterator[tuple[str, int]]:
    """Kind and place (the offset in `text`) of each secret; at most one of a kind in each line."""
    for kind, pattern in PATTERNS.items():
        end = -1  # of the line in which the last one was found
        for match in pattern.finditer(text):
            if match.start() > end:
                end = text.find("\n", match.start())
                end = len(text) if end < 0 else end
                yield kind, match.start()


def redacted(text: str) -> str:
    """`text` with each secret replaced by its kind."""
    for kind, pattern in PATTERNS.items():
        text = pattern.sub(f"<{kind}>", text)
    return text
