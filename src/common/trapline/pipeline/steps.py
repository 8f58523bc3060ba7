"""The pipeline's jobs as steps: preparation, two trainings, pseudo-labels, evaluation, transform, collection.

Nothing here depends on where the pipeline runs: places are parameters, or what an earlier step wrote.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.config import TrainingConfig
from trapline.launching.aws.options import AwsOptions
from trapline.launching.job_requests import PHASE1, PREPARED, PSEUDO, WEIGHTS
from trapline.launching.pairs import options_as_words
from trapline.launching.sdk.objects import CODE, PROCESSING
from trapline.launching.sdk.workflow import (
    CacheConfig,
    Join,
    Model,
    ModelStep,
    ProcessingInput,
    ProcessingOutput,
    ProcessingStep,
    Processor,
    PropertyFile,
    TrainingInput,
    TrainingStep,
    Transformer,
    TransformStep,
)
from trapline.metrics import definitions
from trapline.payload import PAYLOAD_MB
from trapline.pipeline import step_options
from trapline.pipeline.frame import Frame, join
from trapline.pipeline.parameters import DATA_VERSION, LABEL_NAMES, SITE_CSV, WEIGHTS_URI
from trapline.pipeline.record import COMPLETED
from trapline.pipeline.retries import job_retries, model_retries
from trapline.trusted_code import TRUSTED

INPUT, OUTPUT = f"{PROCESSING}/input", f"{PROCESSING}/output"
SOURCE, ARCHIVE = "files", "sourcedir.tar.gz"  # of the code, for processing and for training
MODEL, EVALUATION, EVALUATION_FILE = "model.tar.gz", "evaluation", "evaluation.json"
TRANSFORM_IMAGES = ("transform", "images")
# Parameters that are files which prepare.py reads: its flag, and the folder in which the job finds them.
PREPARE_FILES = {SITE_CSV: ("--site-csv", "sites"), LABEL_NAMES: ("--label-names", "labels")}
CACHE = CacheConfig(enable_caching=True, expire_after="P30D")
CONCURRENT = 4  # requests of batch transform; times PAYLOAD_MB at most 100 on AWS


@dataclass(frozen=True)
class Label:
    """A step's name, and what a person reads in the console."""

    name: str
    display: str
    description: str


def output_of(step: ProcessingStep, name: str) -> Any:
    """Where the output `name` of a processing step lies, known when the pipeline runs."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def model_of(step: TrainingStep) -> Any:
    """The model.tar.gz of a training step."""
    return step.properties.ModelArtifacts.S3ModelArtifacts


def history_of(step: TrainingStep) -> Join:
    """The output.tar.gz of a training step, which holds its metrics.csv.

    Both parts of its place are the step's own: from the cache they are those of an earlier execution.
    """
    place, name = step.properties.OutputDataConfig.S3OutputPath, step.properties.TrainingJobName
    return join(place, name, "output", "output.tar.gz")


def processing_step(
    frame: Frame,
    label: Label,
    script: str,
    arguments: Sequence[Any],
    *,
    inputs: dict[str, Any],
    output: str,
    instance: str,
    files: Sequence[PropertyFile] = (),
    shared: Mapping[str, Any] | None = None,
    cache: CacheConfig | None = CACHE,
    after: Sequence[Any] = (),
) -> ProcessingStep:
    """A processing job that runs `script` with `arguments`; `inputs` are folders by name.

    `shared`: outputs beside `output` that have a place of all executions, by name. `after`: steps that must
    have ended well.
    """
    processor = Processor(
        role=frame.values["RoleArn"],
        image_uri=frame.values["ImageUri"],
        entrypoint=["python3", f"{CODE}/{script}"],
        instance_type=frame.values[instance],
        instance_count=1,  # a script does the whole work by itself
        volume_size_in_gb=_volume_gb(frame),
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_processing(frame.options, frame.values[instance]),
    )
    sources = {"code": frame.code_uri(SOURCE), **inputs}
    targets = {output: frame.output_uri(label.name), **(shared or {})}
    step_args = processor.run(
        inputs=[
            ProcessingInput(source=source, destination=f"{INPUT}/{name}", input_name=name)
            for name, source in sources.items()
        ],
        outputs=[
            ProcessingOutput(source=f"{OUTPUT}/{name}", destination=target, output_name=name)
            for name, target in targets.items()
        ],
        arguments=[*arguments, "--output", f"{OUTPUT}/{output}"],
    )
    return ProcessingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=step_args,
        property_files=list(files),
        cache_config=cache,
        depends_on=list(after) or None,
        retry_policies=job_retries(),
    )


def _volume_gb(frame: Frame) -> int:
    return (frame.options or AwsOptions()).volume_gb


def training_step(
    frame: Frame, label: Label, config: TrainingConfig, phase: int, channels: dict[str, Any]
) -> TrainingStep:
    """A training job that runs train.py; epochs and learning rate are the pipeline's parameters."""
    own = {
        "epochs": frame.values[f"EpochsPhase{phase}"],
        "lr": frame.values[f"LearningRatePhase{phase}"],
    }
    instance = frame.values["TrainingInstanceType"]
    checkpoints = frame.checkpoint_uri(label.name, config)
    estimator = step_options.estimator_class(frame.options, frame.session.sagemaker_config)(
        entry_point="train.py",
        source_dir=frame.code_uri(ARCHIVE),
        role=frame.values["RoleArn"],
        image_uri=Join(on="", values=[frame.values["ImageUri"]]),  # a bare parameter becomes its default
        instance_type=instance,
        instance_count=frame.values["TrainingInstanceCount"],
        volume_size=_volume_gb(frame),
        hyperparameters={**config.record(), **own},
        metric_definitions=definitions(),
        base_job_name=label.name,  # without one the SDK would look into source_dir
        output_path=frame.output_uri(label.name),
        distribution={"torch_distributed": {"enabled": True}},  # the count is known at the start
        container_log_level=logging.WARNING,
        disable_profiler=True,
        debugger_hook_config=False,
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_training(frame.options, instance, checkpoints),
    )
    return TrainingStep(
        name=label.name,
        display_name=label.display,
        description=label.description,
        step_args=estimator.fit({name: TrainingInput(uri) for name, uri in channels.items()}),
        cache_config=CACHE,
        retry_policies=job_retries(),
    )


def prepare_step(
    frame: Frame,
    options: dict[str, str],
    state: PropertyFile,
    *,
    drawn: bool,
    files: Mapping[str, str | None],
) -> ProcessingStep:
    """Raw images become the prepared set.

    `state`: what the pipeline reads of it. `drawn`: prepare.py makes the demo's images itself. `files`: the
    names of the files that the parameters of PREPARE_FILES stand for; None where a pipeline has none. The
    version of the data is an argument, as the step's cache looks at arguments, and at the text of URIs alone.
    """
    label = Label("Prepare", "Prepare images", "Decode, check and split raw images; split by site if known")
    data = frame.values["InputData"]
    words = options_as_words(dict(sorted(options.items())))
    inputs: dict[str, Any] = {} if drawn else {"data": data}
    source: list[Any] = ["--input", data if drawn else f"{INPUT}/data", "--source-name", data]
    source += ["--data-version", frame.values[DATA_VERSION], "--completed", f"{INPUT}/{COMPLETED}"]
    # With a slash: the name of another pipeline may begin with this one's.
    inputs[COMPLETED] = frame.completed_uri("")
    if WEIGHTS_URI in frame.values:
        inputs[WEIGHTS] = frame.values[WEIGHTS_URI]
        source += ["--weights", f"{INPUT}/{WEIGHTS}"]
    for parameter, (flag, folder) in PREPARE_FILES.items():
        if name := files.get(parameter):
            inputs[folder] = frame.values[parameter]
            words += [flag, f"{INPUT}/{folder}/{name}"]
    return processing_step(
        frame, label, "prepare.py", [*source, *words],
        inputs=inputs, output=PREPARED, instance="PrepareInstanceType", files=[state],
    )  # fmt: skip


def phase1_step(frame: Frame, config: TrainingConfig, prepare: ProcessingStep) -> TrainingStep:
    """The training on labelled images."""
    label = Label("TrainPhase1", "Train, phase 1", "Train on the labelled images")
    channels = {PREPARED: output_of(prepare, PREPARED), **frame.staged_weights(config)}
    return training_step(frame, label, config, 1, channels)


def pseudo_label_step(frame: Frame, prepare: ProcessingStep, phase1: TrainingStep) -> ProcessingStep:
    """Phase 1's sure guesses about the unlabelled images."""
    label = Label("PseudoLabel", "Pseudo-label", "Label the unlabelled images that phase 1 is sure of")
    arguments = ["--prepared", f"{INPUT}/{PREPARED}", "--model", f"{INPUT}/model/{MODEL}"]
    threshold = ["--threshold", frame.values["ConfidenceThreshold"].to_string()]
    return processing_step(
        frame, label, "pseudo_label.py", [*arguments, *threshold],
        inputs={PREPARED: output_of(prepare, PREPARED), "model": model_of(phase1)},
        output=PSEUDO, instance="ScoringInstanceType",
    )  # fmt: skip


def phase2_step(
    frame: Frame,
    config: TrainingConfig,
    prepare: ProcessingStep,
    phase1: TrainingStep,
    labels: ProcessingStep,
) -> TrainingStep:
    """The training on labelled and pseudo-labelled images."""
    label = Label("TrainPhase2", "Train, phase 2", "Train on labelled and pseudo-labelled images")
    channels = {PREPARED: output_of(prepare, PREPARED), PSEUDO: output_of(labels, PSEUDO)}
    start = {PHASE1: model_of(phase1)} if config.weights == PHASE1 else {}
    return training_step(frame, label, config, 2, {**channels, **start, **frame.staged_weights(config)})


def evaluate_step(
    frame: Frame, prepare: ProcessingStep, phases: tuple[TrainingStep, TrainingStep], file: PropertyFile
) -> ProcessingStep:
    """The choice of a champion on validation, and its measure on the locked test part."""
    label = Label("Evaluate", "Evaluate", "Choose the champion on validation and measure it on the test part")
    models = [word for name in ("phase1", "phase2") for word in (f"--{name}", f"{INPUT}/{name}/{MODEL}")]
    return processing_step(
        frame, label, "evaluate.py",
        ["--prepared", f"{INPUT}/{PREPARED}", *models, "--views", frame.values["Views"]],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "phase1": model_of(phases[0]),
            "phase2": model_of(phases[1]),
        },
        output=EVALUATION, instance="ScoringInstanceType", files=[file],
    )  # fmt: skip


def champion_model(frame: Frame, evaluate: ProcessingStep) -> Model:
    """The champion as a SageMaker model. Of the code in it only what the pipeline shipped runs."""
    return Model(
        image_uri=frame.values["ImageUri"],
        model_data=join(output_of(evaluate, EVALUATION), "champion", MODEL),
        role=frame.values["RoleArn"],
        env={TRUSTED: frame.trusted},
        sagemaker_session=frame.session,
        **step_options.of_model(frame.options),
    )


def create_model_step(frame: Frame, model: Model) -> ModelStep:
    """The step Champion-CreateModel."""
    return ModelStep(
        name="Champion",
        display_name="Create model",
        description="Make a SageMaker model of the champion",
        step_args=model.create(tags=frame.tags),
        retry_policies=model_retries(),
    )


def transform_step(frame: Frame, prepare: ProcessingStep, champion: ModelStep) -> TransformStep:
    """The champion's answer for each unlabelled image, one request an image.

    Without a cache: the model's name, a part of its key, is a new one each time.
    """
    transformer = Transformer(
        model_name=champion.properties.ModelName,
        instance_type=frame.values["TransformInstanceType"],
        instance_count=frame.values["TransformInstanceCount"],
        strategy="SingleRecord",
        max_payload=PAYLOAD_MB,
        max_concurrent_transforms=CONCURRENT,
        output_path=frame.output_uri("Transform"),
        accept="application/json",
        tags=frame.tags,
        sagemaker_session=frame.session,
        **step_options.of_transform(frame.options, frame.values["TransformInstanceType"]),
    )
    images = join(output_of(prepare, PREPARED), *TRANSFORM_IMAGES, "")
    return TransformStep(
        name="Transform",
        display_name="Batch transform",
        description="Predict every unlabelled image with test-time views",
        step_args=transformer.transform(data=images, content_type="application/x-image"),
        retry_policies=job_retries(),
    )


def collect_step(
    frame: Frame,
    prepare: ProcessingStep,
    phases: tuple[TrainingStep, TrainingStep],
    evaluate: ProcessingStep,
    transform: TransformStep,
    after: Sequence[ModelStep],
) -> ProcessingStep:
    """The answers as predictions.csv and submission.csv, the report, and the record for the next execution.

    Without a cache: it reads what Transform has just made. It waits for the steps `after`, so that its record
    is one of an execution that has completed.
    """
    label = Label("Collect", "Collect", "Write predictions.csv, submission.csv and report.html")
    histories = {step.name: history_of(step) for step in phases}
    shown = [word for name in histories for word in ("--history", f"{INPUT}/{name}/output.tar.gz")]
    return processing_step(
        frame, label, "collect.py",
        [
            "--prepared", f"{INPUT}/{PREPARED}", "--predictions", f"{INPUT}/predictions",
            "--evaluation", f"{INPUT}/{EVALUATION}", *shown, "--completed", f"{OUTPUT}/{COMPLETED}",
            "--settings", *map(_as_text, frame.settings()),
        ],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "predictions": transform.properties.TransformOutput.S3OutputPath,
            EVALUATION: output_of(evaluate, EVALUATION),
            **histories,
        },
        output="results", instance="PrepareInstanceType", shared={COMPLETED: frame.completed_uri()},
        cache=None, after=after,
    )  # fmt: skip


def _as_text(setting: Any) -> Any:
    """A setting as a word of a command line."""
    return setting if isinstance(setting, str) else setting.to_string()
