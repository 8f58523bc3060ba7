"""What the AWS options of a command line say of the SDK's objects that a pipeline's steps are made of.

Where a pipeline runs here there are none, and nothing is said. A machine's disk has the given key where the
instance type that the definition has by default can have one.
"""

from typing import Any

from trapline.launching.aws.options import AwsOptions
from trapline.launching.sdk.objects import disk_key, isolated_by_default, processing_options, training_options
from trapline.launching.sdk.workflow import ParameterString, PyTorch


class IsolatedPyTorch(PyTorch):
    """Without network, where the SDK's own argument refuses a place of the code that is a parameter.

    The code comes as a channel, which the platform copies.
    """

    def enable_network_isolation(self) -> bool:
        """Whether jobs reach no network."""
        return True


def estimator_class(options: AwsOptions | None, defaults: dict[str, Any]) -> type[PyTorch]:
    """The class of the trainings' estimators; `defaults` are those of the SDK's file."""
    if options is None:
        return PyTorch
    isolated = options.network_isolation or isolated_by_default(defaults)
    return IsolatedPyTorch if isolated else PyTorch


def of_training(options: AwsOptions | None, instance: ParameterString, checkpoints: Any) -> dict[str, Any]:
    """Arguments of an estimator. `checkpoints`: their URI."""
    if options is None:
        return {}
    given = training_options(options, instance.default_value)
    del given["tags"]  # the pipeline's own hold them
    isolation = {"enable_network_isolation": False}  # the class says it
    return {**given, **isolation, "checkpoint_s3_uri": checkpoints}


def of_processing(options: AwsOptions | None, instance: ParameterString) -> dict[str, Any]:
    """Arguments of a processor."""
    return {} if options is None else processing_options(options, instance.default_value)


def of_transform(options: AwsOptions | None, instance: ParameterString) -> dict[str, Any]:
    """Arguments of a transformer."""
    if options is None:
        return {}
    return {"output_kms_key": options.kms_key, "volume_kms_key": disk_key(options, instance.default_value)}


def of_model(options: AwsOptions | None) -> dict[str, Any]:
    """Arguments of a model."""
    if options is None:
        return {}
    network = {"Subnets": list(options.subnets), "SecurityGroupIds": list(options.security_groups)}
    return {
        "vpc_config": network if options.subnets else None,
        "enable_network_isolation": options.network_isolation or None,
    }
