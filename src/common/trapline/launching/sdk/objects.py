"""Jobs turned into objects of the SageMaker Python SDK v2: the one place that another SDK would replace."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from sagemaker import image_uris
from sagemaker.config import (
    PROCESSING_JOB_ROLE_ARN_PATH,
    TRAINING_JOB_ENABLE_NETWORK_ISOLATION_PATH,
    TRAINING_JOB_ROLE_ARN_PATH,
    load_sagemaker_config,
)
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.model_card import ModelPackageModelCard
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.network import NetworkConfig
from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.pytorch import PyTorch
from sagemaker.session import Session
from sagemaker.transformer import Transformer
from sagemaker.tuner import HyperbandStrategyConfig, HyperparameterTuner, StrategyConfig
from sagemaker.utils import get_config_value, instance_supports_kms
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import (
    ConditionEquals,
    ConditionGreaterThanOrEqualTo,
    ConditionLessThanOrEqualTo,
)
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep, TransformStep

from trapline.errors import UsageError
from trapline.launching.aws.options import DAY, AwsOptions
from trapline.launching.given_options import as_words
from trapline.launching.plan import (
    PREPARED,
    Between,
    Job,
    PrepareJob,
    Range,
    TrainingJob,
    TuningJob,
)
from trapline.metrics import definitions
from trapline.s3 import is_s3, place_of

# The SDK's own names that other rooms take from here: what a pipeline's steps are made of.
__all__ = [
    "CacheConfig",
    "ConditionEquals",
    "ConditionGreaterThanOrEqualTo",
    "ConditionLessThanOrEqualTo",
    "ConditionStep",
    "ExecutionVariables",
    "FailStep",
    "Join",
    "JsonGet",
    "MetricsSource",
    "Model",
    "ModelMetrics",
    "ModelPackageModelCard",
    "ModelStep",
    "ParameterFloat",
    "ParameterInteger",
    "ParameterString",
    "Pipeline",
    "PipelineSession",
    "ProcessingInput",
    "ProcessingOutput",
    "ProcessingStep",
    "Processor",
    "PropertyFile",
    "PyTorch",
    "SageMakerJobExceptionTypeEnum",
    "SageMakerJobStepRetryPolicy",
    "Session",
    "StepExceptionTypeEnum",
    "StepRetryPolicy",
    "TrainingInput",
    "TrainingStep",
    "TransformStep",
    "Transformer",
]

PROCESSING = "/opt/ml/processing"  # where a processing job finds its folders, by convention
CODE = f"{PROCESSING}/input/code"
INSTALL = (  # for deep-learning images; a processing job has no toolkit that would do it
    f'python3 -m pip install --quiet -r {CODE}/requirements.txt && exec python3 {CODE}/prepare.py "$@"'
)


def open_session(boto_session: boto3.Session) -> Session:
    """The SDK's session. Raises UsageError where its file of the account's defaults cannot be used."""
    with _readable_defaults():
        return Session(boto_session=boto_session)


def read_defaults() -> dict[str, Any]:
    """The SDK's file of the account's defaults, empty where there is none. Raises as `open_session` does."""
    with _readable_defaults():
        return dict(load_sagemaker_config())


@contextlib.contextmanager
def _readable_defaults() -> Iterator[None]:
    from jsonschema import ValidationError  # type: ignore[import-untyped]
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        yield
    except (ValueError, ValidationError, YAMLError) as error:
        said = " ".join(str(error).split())[:300]
        raise UsageError(f"the SDK's defaults file, ~/.config/sagemaker/config.yaml: {said}") from error


def defaults_name_role(session: Session, *, training_only: bool) -> bool:
    """Whether the SDK's defaults file names the role of training jobs, and of processing jobs if wanted."""
    paths = [TRAINING_JOB_ROLE_ARN_PATH, *([] if training_only else [PROCESSING_JOB_ROLE_ARN_PATH])]
    return all(get_config_value(path, session.sagemaker_config) for path in paths)


def isolated_by_default(defaults: Mapping[str, Any]) -> bool:
    """Whether the SDK's defaults file keeps training jobs from the network."""
    return bool(get_config_value(TRAINING_JOB_ENABLE_NETWORK_ISOLATION_PATH, defaults))


def make_estimator(job: TrainingJob, session: Session) -> PyTorch:
    """The PyTorch Estimator of a training job; several instances train under torchrun."""
    image, options = job.image, job.options
    code = options.code_output if options else None
    return PyTorch(
        entry_point="train.py",
        source_dir=str(job.code),
        role=job.role,
        instance_type=job.machines.instance_type,
        instance_count=job.machines.count,
        volume_size=job.machines.volume_gb,
        checkpoint_s3_uri=job.checkpoints,
        hyperparameters=job.hyperparameters,
        metric_definitions=definitions(),
        output_path=job.output,
        code_location=None if job.output.startswith("file:") else code or job.output,
        distribution={"torch_distributed": {"enabled": True}} if job.machines.count > 1 else None,
        container_log_level=logging.WARNING,  # the toolkit would print every setting twice
        disable_profiler=True,
        debugger_hook_config=False,
        sagemaker_session=session,
        **(
            {"image_uri": image.uri}
            if image.uri
            else {"framework_version": image.framework_version, "py_version": image.py_version}
        ),
        **(training_options(options, job.machines.instance_type) if options else {}),
    )


def training_options(options: AwsOptions, instance_type: Any) -> dict[str, Any]:
    """What the options say of an Estimator; None where the SDK's defaults file may speak."""
    return {
        "max_run": options.max_run,
        "use_spot_instances": options.spot,
        "max_wait": options.max_wait,
        "keep_alive_period_in_seconds": options.keep_alive,
        "output_kms_key": options.kms_key,
        "volume_kms_key": disk_key(options, instance_type),
        "subnets": list(options.subnets) or None,
        "security_group_ids": list(options.security_groups) or None,
        "enable_network_isolation": options.network_isolation or None,
        "encrypt_inter_container_traffic": options.encrypt_inter_container or None,
        "tags": options.tag_list or None,
        "input_mode": options.input_mode,
        "enable_sagemaker_metrics": True,  # curves in the console; the SDK's default for AWS's images alone
    }


def processing_options(options: AwsOptions, instance_type: Any) -> dict[str, Any]:
    """What the options say of a Processor; None where the SDK's defaults file may speak."""
    return {
        "max_runtime_in_seconds": min(options.max_run, 9 * DAY),  # SageMaker's limit, lower than of training
        "output_kms_key": options.kms_key,
        "volume_kms_key": disk_key(options, instance_type),
        "network_config": NetworkConfig(
            enable_network_isolation=options.network_isolation or None,
            subnets=list(options.subnets) or None,
            security_group_ids=list(options.security_groups) or None,
            encrypt_inter_container_traffic=options.encrypt_inter_container or None,
        )
        if options.subnets or options.network_isolation or options.encrypt_inter_container
        else None,
    }


def disk_key(options: AwsOptions, instance_type: Any) -> str | None:
    """The key of a machine's disk. SageMaker refuses one where the disk is the machine's own, as of ml.g4dn:
    such disks are encrypted by their hardware."""
    return options.kms_key if options.kms_key and instance_supports_kms(str(instance_type)) else None


def make_processor(job: PrepareJob, session: Session) -> Processor:
    """The Processor of a prepare job; its image: the given one, or the training image for its instance."""
    image = job.image.uri or image_uris.retrieve(
        "pytorch",
        session.boto_region_name,
        version=job.image.framework_version,
        py_version=job.image.py_version,
        instance_type=job.machines.instance_type,
        image_scope="training",
    )
    return Processor(
        role=job.role,
        image_uri=str(image),
        entrypoint=["bash", "-c", INSTALL, "prepare"] if job.installs else ["python3", f"{CODE}/prepare.py"],
        instance_type=job.machines.instance_type,
        instance_count=job.machines.count,
        volume_size_in_gb=job.machines.volume_gb,
        tags=job.options.tag_list or None if job.options else None,
        sagemaker_session=session,
        **(processing_options(job.options, job.machines.instance_type) if job.options else {}),
    )


def processing_arguments(job: PrepareJob) -> list[str]:
    """The command line of prepare.py inside the container."""
    words = ["--input", _data_inside(job.input) if job.input else job.reads or job.source_name]
    words += ["--output", f"{PROCESSING}/output/{PREPARED}", *as_words("source-name", job.source_name)]
    for file in job.files:
        words += [f"--{file.option}", f"{PROCESSING}/input/{file.path}"]
    return [*words, *job.arguments]


def _data_inside(uri: str) -> str:
    """Where a container finds the data: an object by its name, for keys that begin with its key come too."""
    place, folder = place_of(uri) if is_s3(uri) else None, f"{PROCESSING}/input/data"
    return f"{folder}/{place.name}" if place and place.kind == "object" else folder


# --- jobs started: sent where the SDK's session is of an account, run where it is of local mode -------------


def start_job(job: Job, session: Session) -> None:
    """Start a job; on AWS nothing is waited for.

    Raises UsageError where the SDK refuses the job's image or machine, KeyboardInterrupt on Ctrl-C.
    """
    started = _process(job, session) if isinstance(job, PrepareJob) else _fit(job, session)
    if started is None:
        raise KeyboardInterrupt  # the SDK's telemetry swallows it


@contextlib.contextmanager
def _refusals_of_the_sdk(flags: str) -> Iterator[None]:
    """The SDK checks image and machine itself, and raises errors of Python's."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{flags}: {said[:300]}{'...' if len(said) > 300 else ''}") from error


def _process(job: PrepareJob, session: Session) -> Any:
    with _refusals_of_the_sdk("--prepare-instance-type, --framework-version or --py-version"):
        processor = make_processor(job, session)
    sources = {"code": job.code, "data": job.input, **{file.input: file.uri for file in job.files}}
    output: Any = job.output
    if job.output.startswith("file:"):  # the SDK would turn it into s3://, but leaves a parameter alone
        output = ParameterString("PreparedUri", default_value=job.output)
    processor.run(
        inputs=[
            ProcessingInput(source=source, destination=f"{PROCESSING}/input/{name}", input_name=name)
            for name, source in sources.items()
            if source
        ],
        outputs=[
            ProcessingOutput(
                source=f"{PROCESSING}/output/{PREPARED}", destination=output, output_name=PREPARED
            )
        ],
        arguments=processing_arguments(job),
        wait=False,
        logs=False,
        job_name=job.name,
    )
    return processor.latest_job


def _fit(job: TrainingJob | TuningJob, session: Session) -> Any:
    training = job.training if isinstance(job, TuningJob) else job
    with _refusals_of_the_sdk("--instance-type, --instance-count, --framework-version or --py-version"):
        estimator = make_estimator(training, session)
        tuner = make_tuner(job, estimator) if isinstance(job, TuningJob) else None
        estimator.training_image_uri()
    mode = training.options.input_mode if training.options else None
    channels = {
        name: uri if uri.startswith("file:") else TrainingInput(uri, input_mode=mode)
        for name, uri in {PREPARED: training.prepared, **training.channels}.items()
    }
    (tuner or estimator).fit(channels, wait=False, job_name=job.name)
    return tuner.latest_tuning_job if tuner else estimator.latest_training_job


def make_tuner(job: TuningJob, estimator: PyTorch) -> HyperparameterTuner:
    """The tuner of a job, whose trainings have no hyperparameter that is searched."""
    search, options = job.search, job.training.options
    return HyperparameterTuner(
        estimator,
        metric_definitions=definitions(),  # those of the estimator would be left out
        objective_metric_name=search.objective,
        objective_type="Maximize" if search.maximise else "Minimize",
        hyperparameter_ranges={item.name: _parameter(item) for item in search.ranges},
        strategy=search.strategy,
        strategy_config=StrategyConfig(HyperbandStrategyConfig(max_resource=search.epochs, min_resource=1))
        if search.strategy == "Hyperband"
        else None,
        max_jobs=search.max_jobs,
        max_parallel_jobs=search.parallel,
        early_stopping_type="Auto" if search.early_stopping else "Off",
        random_seed=search.seed,
        tags=options.tag_list or None if options else None,
    )


def _parameter(item: Range) -> Any:
    if not isinstance(item, Between):
        return CategoricalParameter(list(item.ends))
    kind = IntegerParameter if item.whole else ContinuousParameter
    return kind(*item.ends, scaling_type="Logarithmic" if item.log else "Linear")
