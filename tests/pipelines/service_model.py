"""AWS's own description of its requests, as botocore ships it, against what a pipeline's steps say."""

import re
from functools import cache

import botocore.session

OPERATIONS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName"),
    "Training": ("CreateTrainingJob", "TrainingJobName"),
    "Transform": ("CreateTransformJob", "TransformJobName"),
    "Model": ("CreateModel", "ModelName"),
    "RegisterModel": ("CreateModelPackage", None),
}
DESCRIBES = {
    "Processing": "DescribeProcessingJob",
    "Training": "DescribeTrainingJob",
    "Transform": "DescribeTransformJob",
    "Model": "DescribeModel",
}
VARIABLES = ("Get", "Std:Join", "Std:JsonGet")


@cache
def service():
    return botocore.session.get_session().get_service_model("sagemaker")


def faults_of_arguments(step):
    """What AWS would refuse in a step's arguments; what is known only when it runs counts as right."""
    operation, name = OPERATIONS[step["Type"]]
    shape = service().operation_model(operation).input_shape
    given = step["Arguments"] | ({name: "x"} if name else {})
    return list(_faults(shape, given, step["Name"]))


def is_variable(value):
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in VARIABLES


def _faults(shape, value, place):
    if not is_variable(value):
        yield from CHECKS.get(shape.type_name, lambda *_: ())(shape, value, place)


def _structure(shape, value, place):
    yield from (f"{place}: lacks {name}" for name in shape.required_members if name not in value)
    for name, item in value.items():
        if name in shape.members:
            yield from _faults(shape.members[name], item, f"{place}.{name}")
        else:
            yield f"{place}: does not know {name}"


def _list(shape, value, place):
    yield from _size(shape, len(value), place)
    for number, item in enumerate(value):
        yield from _faults(shape.member, item, f"{place}[{number}]")


def _map(shape, value, place):
    yield from _size(shape, len(value), place)
    for name, item in value.items():
        yield from _faults(shape.key, name, f"{place}.{name}")
        yield from _faults(shape.value, item, f"{place}.{name}")


def _text(shape, value, place):
    if not isinstance(value, str):
        yield f"{place}: {value!r} is no text"
        return
    yield from _size(shape, len(value), place)
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(_in_python(pattern), value, re.DOTALL):
        yield f"{place}: {value!r} is not of the form {pattern}"
    if shape.enum and value not in shape.enum:
        yield f"{place}: {value!r} is none of {shape.enum}"


def _in_python(pattern):
    """Java's classes of characters, as wide as Python's own that hold them."""
    wider = {"Z": r"\s", "L": r"\w", "N": r"\w", "M": r"\w"}
    return re.sub(r"\\p\{(\w)\w*\}", lambda found: wider.get(found[1], r"\S"), pattern)


def _size(shape, size, place):
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        yield f"{place}: {size} is not from {low} to {high}"


CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _text,
    "integer": _size,
    "long": _size,
}


def answers(step_type, path):
    """Whether Describe of such a step has a field at a path, as in A.B['c'].D."""
    shape = service().operation_model(DESCRIBES[step_type]).output_shape
    for name in re.findall(r"[A-Za-z0-9]+(?=\.|\[|$)|\['[^']+'\]", path):
        if name.startswith("["):
            shape = shape.member
        elif name in shape.members:
            shape = shape.members[name]
        else:
            return False
    return True
