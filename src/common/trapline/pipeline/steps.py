"""The pipeline's jobs as steps: preparation, two trainings, pseudo-labels, evaluation, transform, collection.

Nothing here depends on where the pipeline runs: places are parameters, or what an earlier step wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trapline.job_contract import PAYLOAD_MB
from trapline.launching.aws.registry import MODELS, first_card
from trapline.launching.given_options import (
    COLLECT,
    COLLECT_FILES,
    FILE_OPTIONS,
    FileOption,
    options_as_words,
)
from trapline.launching.plan import PHASE1, PREPARED, PSEUDO, WEIGHTS
from trapline.launching.sdk.objects import (
    ExecutionVariables,
    MetricsSource,
    Model,
    ModelMetrics,
    ModelPackageModelCard,
    ModelStep,
    ProcessingStep,
    PropertyFile,
    TrainingStep,
    Transformer,
    TransformStep,
    disk_key,
)
from trapline.pipeline.design import (
    COMPLETED,
    DATA_VERSION,
    WEIGHTS_URI,
    configuration_digest,
)
from trapline.pipeline.frame import (
    INPUT,
    OUTPUT,
    Frame,
    Label,
    history_of,
    job_retries,
    join,
    model_of,
    model_retries,
    output_of,
    processing_step,
    training_step,
)
from trapline.trusted_code import TRUSTED

MODEL, EVALUATION, EVALUATION_FILE = "model.tar.gz", "evaluation", "evaluation.json"


def prepare_step(frame: Frame, state: PropertyFile) -> ProcessingStep:
    """Raw images become the prepared set. `state`: what the pipeline reads of it.

    The version of the data is an argument, as the step's cache looks at arguments, and at the text of URIs
    alone.
    """
    design, values = frame.design, frame.values
    data = values["InputData"]
    inputs: dict[str, Any] = {} if design.drawn else {"data": data}
    words: list[Any] = ["--input", data if design.drawn else f"{INPUT}/data", "--source-name", data]
    words += ["--data-version", values[DATA_VERSION], "--completed", f"{INPUT}/{COMPLETED}"]
    # With a slash: the name of another pipeline may begin with this one's.
    inputs[COMPLETED] = frame.completed_uri("")
    if WEIGHTS_URI in values:
        inputs[WEIGHTS] = values[WEIGHTS_URI]
        words += ["--weights", f"{INPUT}/{WEIGHTS}"]
    words += options_as_words(dict(sorted(design.prepare.items())))
    words += _files(frame, FILE_OPTIONS, inputs)
    return processing_step(
        frame,
        Label("Prepare", "Prepare images", "Decode, check and split raw images; split by site if known"),
        "prepare.py", words,
        inputs=inputs, output=PREPARED, instance="PrepareInstanceType", files=[state],
    )  # fmt: skip


def _files(frame: Frame, options: Mapping[str, FileOption], inputs: dict[str, Any]) -> list[Any]:
    """The words for what the design's `options` name; `inputs` get what parameters say of them."""
    words: list[Any] = []
    for name, file in frame.design.files.items():
        if name in options:
            option = options[name]
            inputs[option.input] = frame.values[option.parameter]
            words += [f"--{name}", f"{INPUT}/{option.input}/{file}".rstrip("/")]
    return words


def phase1_step(frame: Frame, prepare: ProcessingStep) -> TrainingStep:
    """The training on labelled images."""
    return training_step(
        frame,
        Label("TrainPhase1", "Train, phase 1", "Train on the labelled images"),
        1,
        {PREPARED: output_of(prepare, PREPARED)},
    )


def pseudo_label_step(frame: Frame, prepare: ProcessingStep, phase1: TrainingStep) -> ProcessingStep:
    """Phase 1's sure guesses about the unlabelled images."""
    return processing_step(
        frame, Label("PseudoLabel", "Pseudo-label", "Label the unlabelled images that phase 1 is sure of"),
        "pseudo_label.py",
        [
            "--prepared", f"{INPUT}/{PREPARED}", "--model", f"{INPUT}/model/{MODEL}",
            "--threshold", frame.values["ConfidenceThreshold"].to_string(),
        ],
        inputs={PREPARED: output_of(prepare, PREPARED), "model": model_of(phase1)},
        output=PSEUDO, instance="ScoringInstanceType",
    )  # fmt: skip


def phase2_step(
    frame: Frame, prepare: ProcessingStep, phase1: TrainingStep, labels: ProcessingStep
) -> TrainingStep:
    """The training on labelled and pseudo-labelled images."""
    channels = {PREPARED: output_of(prepare, PREPARED), PSEUDO: output_of(labels, PSEUDO)}
    if frame.design.recipe.phase2.weights == PHASE1:
        channels[PHASE1] = model_of(phase1)
    return training_step(
        frame,
        Label("TrainPhase2", "Train, phase 2", "Train on labelled and pseudo-labelled images"),
        2,
        channels,
    )


def evaluate_step(
    frame: Frame, prepare: ProcessingStep, phases: tuple[TrainingStep, TrainingStep], file: PropertyFile
) -> ProcessingStep:
    """The choice of a champion on validation, and its measure on the locked test part."""
    return processing_step(
        frame,
        Label("Evaluate", "Evaluate", "Choose the champion on validation and measure it on the test part"),
        "evaluate.py",
        [
            "--prepared", f"{INPUT}/{PREPARED}", "--phase1", f"{INPUT}/phase1/{MODEL}",
            "--phase2", f"{INPUT}/phase2/{MODEL}", "--views", frame.values["Views"],
        ],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "phase1": model_of(phases[0]),
            "phase2": model_of(phases[1]),
        },
        output=EVALUATION, instance="ScoringInstanceType", files=[file],
    )  # fmt: skip


def champion_model(frame: Frame, evaluate: ProcessingStep) -> Model:
    """The champion as a SageMaker model. Of the code in it only what the pipeline shipped runs."""
    options = frame.design.options
    of_aws: dict[str, Any] = {}
    if options:
        network = {"Subnets": list(options.subnets), "SecurityGroupIds": list(options.security_groups)}
        of_aws = {
            "vpc_config": network if options.subnets else None,
            "enable_network_isolation": options.network_isolation or None,
        }
    return Model(
        image_uri=frame.values["ImageUri"],
        model_data=join(output_of(evaluate, EVALUATION), "champion", MODEL),
        role=frame.values["RoleArn"],
        env={TRUSTED: frame.trusted},
        sagemaker_session=frame.session,
        **of_aws,
    )


def create_model_step(frame: Frame, model: Model) -> ModelStep:
    """The step Champion-CreateModel."""
    return ModelStep(
        name="Champion",
        display_name="Create model",
        description="Make a SageMaker model of the champion",
        step_args=model.create(tags=frame.design.tags),
        retry_policies=model_retries(),
    )


def transform_step(frame: Frame, prepare: ProcessingStep, champion: ModelStep) -> TransformStep:
    """The champion's answer for each unlabelled image, one request an image.

    Without a cache: the model's name, a part of its key, is a new one each time.
    """
    options, machine = frame.design.options, frame.values["TransformInstanceType"]
    keys = {}
    if options:
        keys["output_kms_key"] = options.kms_key
        keys["volume_kms_key"] = disk_key(options, machine.default_value)
    transformer = Transformer(
        model_name=champion.properties.ModelName,
        instance_type=machine,
        instance_count=frame.values["TransformInstanceCount"],
        strategy="SingleRecord",
        max_payload=PAYLOAD_MB,
        max_concurrent_transforms=4,  # times PAYLOAD_MB at most 100 on AWS
        output_path=frame.output_uri("Transform"),
        accept="application/json",
        tags=frame.design.tags,
        sagemaker_session=frame.session,
        **keys,
    )
    images = join(output_of(prepare, PREPARED), "transform", "images", "")
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
    histories = {step.name: history_of(step) for step in phases}
    shown = [word for name in histories for word in ("--history", f"{INPUT}/{name}/output.tar.gz")]
    given: dict[str, Any] = {}
    asked = options_as_words(dict(sorted(frame.design.collect.items())), COLLECT)
    asked += _files(frame, COLLECT_FILES, given)
    return processing_step(
        frame, Label("Collect", "Collect", "Write predictions.csv, submission.csv and report.html"),
        "collect.py",
        [
            "--prepared", f"{INPUT}/{PREPARED}", "--predictions", f"{INPUT}/predictions",
            "--evaluation", f"{INPUT}/{EVALUATION}", *shown, *asked, "--completed", f"{OUTPUT}/{COMPLETED}",
            "--settings",
            *(setting if isinstance(setting, str) else setting.to_string() for setting in frame.settings()),
        ],
        inputs={
            PREPARED: output_of(prepare, PREPARED),
            "predictions": transform.properties.TransformOutput.S3OutputPath,
            EVALUATION: output_of(evaluate, EVALUATION),
            **histories,
            **given,
        },
        output="results", instance="PrepareInstanceType", shared={COMPLETED: frame.completed_uri()},
        cache=None, after=after,
    )  # fmt: skip


def register_step(
    frame: Frame, model: Model, evaluate: ProcessingStep, phases: tuple[TrainingStep, TrainingStep]
) -> ModelStep:
    """The step Registry-RegisterModel: the champion as a model package, which waits for an approval.

    What is known only when the pipeline has run (the data's fingerprint, the numbers, the champion's phase)
    is no part of the request: SageMaker's documentation has property files read by conditions, and by nothing
    else. `launch/model_card.py` adds it afterwards; `run` does so by itself.
    """
    design, machines = frame.design, [frame.values["TransformInstanceType"]]
    report = MetricsSource(
        s3_uri=join(output_of(evaluate, EVALUATION), EVALUATION_FILE), content_type="application/json"
    )
    origin = {  # for the registry to be searched by
        "recipe": design.recipe.name,
        "code": design.code,
        "configuration": configuration_digest(replace(design.recipe, prepare=design.prepare)),
        "execution": ExecutionVariables.PIPELINE_EXECUTION_ID,
        "training-job-phase1": phases[0].properties.TrainingJobName,
        "training-job-phase2": phases[1].properties.TrainingJobName,
    }
    return ModelStep(
        name="Registry",  # to which the SDK adds -RegisterModel
        display_name="Register model",
        description="Register the champion with its evaluation",
        step_args=model.register(
            content_types=["application/x-image", "application/json"],
            response_types=["application/json", "text/csv"],
            inference_instances=machines,
            transform_instances=machines,
            model_package_group_name=MODELS,
            approval_status=frame.values["ApprovalStatus"],
            model_metrics=ModelMetrics(model_statistics=report),
            customer_metadata_properties=origin,
            model_card=ModelPackageModelCard(first_card(design.recipe.name, design.code), "Draft"),
            description="The champion of a camera-trap pipeline; evaluation.json says what to expect of it",
        ),
        retry_policies=model_retries(),
    )
