"""A pipeline's definition as plain data: its steps wherever they stand, and what their jobs answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Type of step -> the request that it makes, the member that the execution fills in, and what describes it.
OPERATIONS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName", "DescribeProcessingJob"),
    "Training": ("CreateTrainingJob", "TrainingJobName", "DescribeTrainingJob"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName",
               "DescribeHyperParameterTuningJob"),
    "Transform": ("CreateTransformJob", "TransformJobName", "DescribeTransformJob"),
    "Model": ("CreateModel", "ModelName", "DescribeModel"),
    "RegisterModel": ("CreateModelPackage", None, "DescribeModelPackage"),
    "EndpointConfig": ("CreateEndpointConfig", "EndpointConfigName", "DescribeEndpointConfig"),
    "Endpoint": ("CreateEndpoint", "EndpointName", "DescribeEndpoint"),
}  # fmt: skip
# Types whose arguments are no request of SageMaker's.
OTHERS = {"Condition", "Fail", "Lambda", "Callback", "EMR", "EMRServerless", "QualityCheck", "ClarifyCheck",
          "AutoML", "NotebookJob", "Lineage", "InferenceComponent"}  # fmt: skip
BRANCHES = ("IfSteps", "ElseSteps")


@dataclass(frozen=True)
class Step:
    """A step, and the branches of conditions that it stands in, outermost first."""

    body: Mapping[str, Any]
    branches: tuple[tuple[str, str], ...] = ()  # name of the condition step, IfSteps or ElseSteps

    @property
    def name(self) -> str:
        """Its name, or what stands for one that it lacks."""
        return str(self.body.get("Name", "(step without a name)"))

    @property
    def kind(self) -> str:
        """Its type, as in Training."""
        return str(self.body.get("Type", ""))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What it does, without the steps behind a condition."""
        arguments = self.body.get("Arguments", {})
        if not isinstance(arguments, Mapping):
            return {}
        return {name: item for name, item in arguments.items() if not self.is_branch(name)}

    def is_branch(self, name: str) -> bool:
        """Whether an argument holds steps."""
        return self.kind == "Condition" and name in BRANCHES


def all_steps(
    steps: Sequence[Mapping[str, Any]], branches: tuple[tuple[str, str], ...] = ()
) -> Iterator[Step]:
    """All steps of a definition, those behind conditions too, in their order."""
    for body in steps:
        step = Step(body, branches)
        yield step
        if step.kind == "Condition":
            for name in BRANCHES:
                nested = body.get("Arguments", {}).get(name, [])
                yield from all_steps(nested, (*branches, (step.name, name)))


def references(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Field and target of each {"Get": target} anywhere in `value`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == "Get" and len(value) == 1:
                yield field, str(item)
            else:
                yield from references(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from references(item, f"{field}[{number}]")


def waits_for(step: Step) -> set[str]:
    """The steps that must have ended before one starts: by reference, by word, or the condition before it."""
    targets = [
        target.split(".")[1] for _, target in references(step.arguments) if target.startswith("Steps.")
    ]
    return {*targets, *step.body.get("DependsOn", []), *(name for name, _ in step.branches[-1:])}
