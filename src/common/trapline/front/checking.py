"""What a program gives, as options that are checked."""

from os import PathLike, fspath
from typing import Any, TypeVar

from trapline.channels import ensure_local
from trapline.options import Options, make_options

Made = TypeVar("Made", bound=Options)


def checked(model: type[Made], **values: Any) -> Made:
    """The options; paths may be `Path` objects. Raises UsageError for what is wrong, `output` in S3 too."""
    plain = {key: fspath(value) if isinstance(value, PathLike) else value for key, value in values.items()}
    options = make_options(model, plain, str, listed="docs/options.md lists them")
    ensure_local("output", plain["output"])
    return options
