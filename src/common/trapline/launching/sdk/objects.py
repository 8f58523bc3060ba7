"""Jobs turned into objects of the SageMaker Python SDK v2: the one place that another SDK would replace."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sagemaker import image_uris
from sagemaker.config import (
    PROCESSING_JOB_ROLE_ARN_PATH,
    TRAINING_JOB_ENABLE_NETWORK_ISOLATION_PATH,
    TRAINING_JOB_ROLE_ARN_PATH,
    load_sagemaker_config,
)
from sagemaker.inputs import TrainingInput
from sagemaker.network import NetworkConfig
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.pytorch import PyTorch
from sagemaker.session import Session
from sagemaker.utils import get_config_value, instance_supports_kms
from sagemaker.workflow.parameters import ParameterString

from trapline.errors import UsageError
from trapline.launching.aws.options import AwsOptions
from trapline.launching.job_requests import PREPARED, Image, Machines, PrepareJob, TrainingJob
from trapline.launching.pairs import as_words
from trapline.metrics import definitions
from trapline.s3 import is_s3
from trapline.s3_places import place_of

if TYPE_CHECKING:
    import boto3
PROCESSING = "/opt/ml/processing"  # where a processing job finds its folders, by convention
CODE = f"{PROCESSING}/input/code"
INSTALL = (  # for deep-learning images; a processing job has no toolkit that would do it
    f'python3 -m pip install --quiet -r {CODE}/requirements.txt && exec python3 {CODE}/prepare.py "$@"'
)


def open_session(boto_session: "boto3.Session") -> Session:
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
        said = " ".join(str(error).split())
        raise UsageError(f"the SDK's defaults file, ~/.config/sagemaker/config.yaml: {said[:300]}") from error


def defaults_name_role(session: Session, *, training_only: bool) -> bool:
    """Whether the SDK's defaults file names the role of training jobs, and of processing jobs if wanted."""
    paths = [TRAINING_JOB_ROLE_ARN_PATH, *([] if training_only else [PROCESSING_JOB_ROLE_ARN_PATH])]
    return all(get_config_value(path, session.sagemaker_config) for path in paths)


def isolated_by_default(defaults: Mapping[str, Any]) -> bool:
    """Whether the SDK's defaults file keeps training jobs from the network."""
    return bool(get_config_value(TRAINING_JOB_ENABLE_NETWORK_ISOLATION_PATH, defaults))


def make_estimator(job: TrainingJob, session: Session) -> PyTorch:
    """The PyTorch Estimator of a training job; several instances train under torchrun."""
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
        code_location=_code_location(job),
        distribution={"torch_distributed": {"enabled": True}} if job.machines.count > 1 else None,
        environment=dict(job.environment) or None,  # an empty one would hide that of the defaults file
        container_log_level=logging.WARNING,  # the toolkit would print every setting twice
        disable_profiler=True,
        debugger_hook_config=False,
        sagemaker_session=session,
        **_image_arguments(job.image),
        **(training_options(job.options, job.machines.instance_type) if job.options else {}),
    )


def _code_location(job: TrainingJob) -> str | None:
    if job.output.startswith("file:"):
        return None
    return job.options.code_output if job.options and job.options.code_output else job.output


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
    network = (options.subnets, options.network_isolation, options.encrypt_inter_container)
    return {
        "max_runtime_in_seconds": options.max_run_of_processing,
        "output_kms_key": options.kms_key,
        "volume_kms_key": disk_key(options, instance_type),
        "network_config": NetworkConfig(
            enable_network_isolation=options.network_isolation or None,
            subnets=list(options.subnets) or None,
            security_group_ids=list(options.security_groups) or None,
            encrypt_inter_container_traffic=options.encrypt_inter_container or None,
        )
        if any(network)
        else None,
    }


def disk_key(options: AwsOptions, instance_type: Any) -> str | None:
    """The key of a machine's disk. SageMaker refuses one where the disk is the machine's own, as of ml.g4dn:
    such disks are encrypted by their hardware."""
    if options.kms_key is None or not instance_supports_kms(str(instance_type)):
        return None
    return options.kms_key


def training_inputs(job: TrainingJob) -> dict[str, Any]:
    """The channels of a training job."""
    uris = {PREPARED: job.prepared, **job.channels}
    mode = job.options.input_mode if job.options else None
    return {
        name: uri if uri.startswith("file:") else TrainingInput(uri, input_mode=mode)
        for name, uri in uris.items()
    }


def _image_arguments(image: Image) -> dict[str, str]:
    if image.uri:
        return {"image_uri": image.uri}
    return {"framework_version": image.framework_version, "py_version": image.py_version}


def processing_image(image: Image, machines: Machines, region: str) -> str:
    """The image of a processing job: the given one, or the training image for that kind of instance."""
    if image.uri:
        return image.uri
    return str(
        image_uris.retrieve(
            "pytorch",
            region,
            version=image.framework_version,
            py_version=image.py_version,
            instance_type=machines.instance_type,
            image_scope="training",
        )
    )


def make_processor(job: PrepareJob, session: Session) -> Processor:
    """The Processor of a prepare job."""
    own = ["python3", f"{CODE}/prepare.py"]
    entrypoint = ["bash", "-c", INSTALL, "prepare"] if job.installs else own
    return Processor(
        role=job.role,
        image_uri=processing_image(job.image, job.machines, session.boto_region_name),
        entrypoint=entrypoint,
        instance_type=job.machines.instance_type,
        instance_count=job.machines.count,
        volume_size_in_gb=job.machines.volume_gb,
        tags=job.options.tag_list or None if job.options else None,
        sagemaker_session=session,
        **(processing_options(job.options, job.machines.instance_type) if job.options else {}),
    )


def processing_arguments(job: PrepareJob) -> list[str]:
    """The command line of prepare.py inside the container."""
    data = _data_inside(job.input) if job.input else job.reads or job.source_name
    own = ["--input", data, "--output", f"{PROCESSING}/output/{PREPARED}"]
    files = {"--site-csv": ("sites", job.site_csv), "--label-names": ("labels", job.label_names)}
    given = [
        (flag, f"{PROCESSING}/input/{name}/{uri.rpartition('/')[2]}")
        for flag, (name, uri) in files.items()
        if uri
    ]
    named = as_words("source-name", job.source_name)
    return [*own, *named, *(word for pair in given for word in pair), *job.arguments]


def _data_inside(uri: str) -> str:
    """Where a container finds the data: an object by its name, for keys that begin with its key come too."""
    folder = f"{PROCESSING}/input/data"
    is_object = is_s3(uri) and place_of(uri).kind == "object"
    return f"{folder}/{place_of(uri).name}" if is_object else folder


def processing_inputs(job: PrepareJob) -> list[Any]:
    """The inputs of a prepare job: the code, and the images where they are not drawn."""
    sources = {"code": job.code, "data": job.input, "sites": job.site_csv, "labels": job.label_names}
    return [
        ProcessingInput(source=source, destination=f"{PROCESSING}/input/{name}", input_name=name)
        for name, source in sources.items()
        if source
    ]


def processing_outputs(job: PrepareJob) -> list[Any]:
    """The output of a prepare job. The SDK would turn file:// into s3://, but leaves a parameter alone."""
    local = job.output.startswith("file:")
    destination = ParameterString("PreparedUri", default_value=job.output) if local else job.output
    return [
        ProcessingOutput(
            source=f"{PROCESSING}/output/{PREPARED}", destination=destination, output_name=PREPARED
        )
    ]
