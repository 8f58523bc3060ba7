"""What all steps of a pipeline share, and the places that follow from it."""

from dataclasses import dataclass
from typing import Any

from trapline.config import TrainingConfig
from trapline.launching.aws.options import AwsOptions
from trapline.launching.job_requests import WEIGHTS
from trapline.launching.sdk.workflow import ExecutionVariables, Join, PipelineSession
from trapline.pipeline.parameters import ABOUT_REUSE, WEIGHTS_URI
from trapline.pipeline.record import COMPLETED

CHECKPOINTS, KEY_LENGTH = "checkpoints", 16


@dataclass(frozen=True)
class Frame:
    """What all steps share. values: the pipeline's parameters by name. code: a digest of the sources.

    options: of jobs on AWS; None where they run here. pipeline: its name. fixed: a digest of what neither
    code nor parameters say.
    """

    session: PipelineSession
    values: dict[str, Any]
    code: str
    tags: list[dict[str, str]]
    options: AwsOptions | None
    pipeline: str
    fixed: str
    trusted: str  # the digest of the code that models bring

    def code_uri(self, name: str) -> Join:
        """Where the sources lie: the same place for the same sources."""
        given = self.options.code_output if self.options else None
        return join(given or self.values["OutputPrefix"], "code", self.code, name)

    def checkpoint_uri(self, step: str, config: TrainingConfig) -> Join:
        """Where a training keeps its checkpoints: no place of one execution, or the step were never cached.

        Epochs and rates that an execution chooses are no part of it: train.py keys what it finds there.
        """
        name = f"{step}-{config.digest()[:KEY_LENGTH]}"
        return join(self.values["OutputPrefix"], CHECKPOINTS, self.code, name)

    def staged_weights(self, config: TrainingConfig) -> dict[str, Any]:
        """The channel of staged ImageNet weights, where the pipeline has them and the training wants them."""
        wanted = config.weights == "imagenet" and WEIGHTS_URI in self.values
        return {WEIGHTS: self.values[WEIGHTS_URI]} if wanted else {}

    def completed_uri(self, *more: str) -> Join:
        """Where the last completed execution says what it used: the same place for all."""
        return join(self.values["OutputPrefix"], COMPLETED, self.pipeline, *more)

    def settings(self) -> list[Any]:
        """What an execution is run with, beside its data: code, definition, and the parameters' values."""
        chosen = [value for name, value in self.values.items() if name not in ABOUT_REUSE]
        return [f"code={self.code}", f"definition={self.fixed}", *chosen]

    def output_uri(self, step: str) -> Join:
        """Where a step's results go: a place of this execution."""
        return join(self.values["OutputPrefix"], ExecutionVariables.PIPELINE_EXECUTION_ID, step)


def join(*parts: Any) -> Join:
    """A path of parts that are known when the pipeline runs."""
    return Join(on="/", values=list(parts))
