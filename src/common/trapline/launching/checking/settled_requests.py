"""Requests whose variables are settled, and the training specifications in them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trapline.launching.checking.findings import Finding

# Where a training specification lies in a request -> the name of its hyperparameters.
TRAININGS = {
    "CreateTrainingJob": ("", "HyperParameters"),
    "CreateHyperParameterTuningJob": ("TrainingJobDefinition", "StaticHyperParameters"),
}


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

    def found(self, field: str, rule: str, detail: str) -> Finding:
        """A finding of this specification."""
        return self.request.found(f"{self.prefix}{field}", rule, detail)


def at(value: Any, path: str, kind: type | tuple[type, ...]) -> Any:
    """What lies at a path of names, or None where nothing of that kind does."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def switched_on(value: Any, path: str) -> bool:
    """Whether a path of names leads to True."""
    *above, name = path.split(".")
    holder = at(value, ".".join(above), Mapping) if above else value
    return isinstance(holder, Mapping) and holder.get(name) is True


def trainings(request: Request) -> Iterator[Training]:
    """The training specifications of a request."""
    if request.operation not in TRAININGS:
        return
    member, hyperparameters = TRAININGS[request.operation]
    if not member:
        yield Training(request, "", request.parameters, hyperparameters)
        return
    single = request.parameters.get(member)
    if isinstance(single, Mapping):
        yield Training(request, f"{member}.", single, hyperparameters)
    for number, body in enumerate(at(request.parameters, f"{member}s", (list, tuple)) or ()):
        if isinstance(body, Mapping):
            yield Training(request, f"{member}s[{number}].", body, hyperparameters)


def texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Field and content of each text of a request, keys of maps left out."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from texts(item, f"{field}[{number}]")


def structures(value: Any, field: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Field and content of each structure or map of a request."""
    if isinstance(value, Mapping):
        yield field, value
        for name, item in value.items():
            yield from structures(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from structures(item, f"{field}[{number}]")
