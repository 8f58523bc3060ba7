"""The pipeline: its parameters, its steps and their order, and the JSON that SageMaker gets of it."""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from trapline.config import TrainingConfig
from trapline.launching.aws.options import DEFAULTS_FILE, AwsOptions, check_isolation
from trapline.launching.aws.registry import MODELS
from trapline.launching.staging import model_code_digest
from trapline.pipeline.parameters import LABEL_NAMES, SITE_CSV, WEIGHTS_URI, Parameter
from trapline.pipeline.recipes import Recipe

if TYPE_CHECKING:
    from trapline.launching.sdk.workflow import Pipeline

PREFIX = "trapline"
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Design:
    """What is decided when a definition is made.

    drawn: prepare.py draws or finds the images itself. sites, labels: file names of CSVs of sites and of the
    labels' names. registers: the champion is registered, which a process backend cannot. part: what the
    quality gate looks at. options: of the jobs on AWS; None where the pipeline runs here.
    """

    recipe: Recipe
    parameters: list[Parameter]
    code: str  # digest of the sources
    region: str
    drawn: bool
    sites: str | None
    registers: bool
    part: Literal["test", "validation"] = "test"
    prepare: dict[str, str] = field(default_factory=dict)  # options of prepare.py
    options: AwsOptions | None = None
    labels: str | None = None

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return f"{PREFIX}-{self.recipe.name.replace('_', '-')}"

    @property
    def phases(self) -> tuple[TrainingConfig, TrainingConfig]:
        """The configurations of both phases."""
        return self.recipe.phase1, self.recipe.phase2

    @property
    def fixed(self) -> str:
        """A digest of what a definition decides beside the code and the parameters."""
        options = {**asdict(self.options), "tags": None} if self.options else None
        decided = {
            "phases": [config.record() for config in self.phases],
            "prepare": self.prepare,
            "files": [self.sites, self.labels, self.drawn],
            "part": self.part,
            "options": options,
        }
        text = json.dumps(decided, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of the pipeline and all its jobs."""
        own = {"project": PREFIX, "recipe": self.recipe.name}
        given = dict(self.options.tags) if self.options else {}
        return [{"Key": key, "Value": value} for key, value in {**own, **given}.items()]


def make_pipeline(design: Design, session: Any = None) -> "Pipeline":
    """The pipeline of a design. `session`: what it will be sent or run by; None where it is only printed.

    The steps know a session of their own that asks nobody, so that the definition does not depend on it.
    """
    from trapline.launching.sdk import objects as sdk
    from trapline.launching.sdk.pipeline_internals import DefinitionSession
    from trapline.launching.sdk.workflow import Pipeline
    from trapline.pipeline.frame import Frame

    defaults = sdk.read_defaults() if design.options else {}
    if sdk.isolated_by_default(defaults):
        _check_isolation(design)
    own = DefinitionSession(design.region, defaults=defaults)
    values = {item.name: _sdk_parameter(item) for item in design.parameters}
    frame = Frame(
        own, values, design.code, design.tags, design.options, design.name, design.fixed, model_code_digest()
    )
    with quiet_sdk():
        return Pipeline(
            name=design.name,
            parameters=list(values.values()),
            steps=_steps(design, frame),
            sagemaker_session=session or own,
        )


def _check_isolation(design: Design) -> None:
    staged = WEIGHTS_URI in {item.name for item in design.parameters}
    for config in design.phases:
        check_isolation(config.weights, staged=staged, flag=DEFAULTS_FILE)


def _steps(design: Design, frame: Any) -> list[Any]:
    from trapline.pipeline import gate, reuse, steps

    files = {SITE_CSV: design.sites, LABEL_NAMES: design.labels}
    state = reuse.state_file()
    prepare = steps.prepare_step(frame, design.prepare, state, drawn=design.drawn, files=files)
    phase1 = steps.phase1_step(frame, design.phases[0], prepare)
    labels = steps.pseudo_label_step(frame, prepare, phase1)
    phase2 = steps.phase2_step(frame, design.phases[1], prepare, phase1, labels)
    file = gate.evaluation_file()
    evaluate = steps.evaluate_step(frame, prepare, (phase1, phase2), file)
    jobs = [phase1, labels, phase2, evaluate]
    measures = gate.read_measures(file, evaluate.name, design.part)
    passed = _passed(design, frame, prepare, (phase1, phase2), evaluate)
    return [
        prepare,
        reuse.nothing_new_step(frame, state, prepare.name, jobs),
        gate.gate_step(frame, measures, passed),
    ]


def _passed(design: Design, frame: Any, prepare: Any, phases: Any, evaluate: Any) -> list[Any]:
    """The steps behind the quality gate. Collect is the last of them."""
    from trapline.pipeline import steps

    model = steps.champion_model(frame, evaluate)
    champion = steps.create_model_step(frame, model)
    transform = steps.transform_step(frame, prepare, champion)
    registered = []
    if design.registers:
        from trapline.pipeline.registration import register_step

        recipe = replace(design.recipe, prepare=design.prepare)
        registered.append(register_step(frame, model, evaluate, phases, recipe, MODELS))
    collect = steps.collect_step(frame, prepare, phases, evaluate, transform, registered)
    return [champion, transform, *registered, collect]


def _sdk_parameter(item: Parameter) -> Any:
    from trapline.launching.sdk.workflow import ParameterFloat, ParameterInteger, ParameterString

    if item.kind == "String":
        choices = list(item.choices) or None
        return ParameterString(item.name, default_value=item.default, enum_values=choices)
    kind = ParameterInteger if item.kind == "Integer" else ParameterFloat
    return kind(item.name, default_value=item.default)


@contextlib.contextmanager
def quiet_sdk() -> Iterator[None]:
    """Keep back the SDK's warnings about pipelines, which come with every step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def definition_text(pipeline: "Pipeline") -> str:
    """The definition as JSON text, the same for the same pipeline."""
    with quiet_sdk():
        return json.dumps(json.loads(pipeline.definition()), indent=2) + "\n"
