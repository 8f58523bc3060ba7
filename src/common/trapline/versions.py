"""The versions that a result was made with, and the digest of code and versions that keeps results apart."""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import trapline
from trapline.trusted_code import digest_of

# Whose version can change a prepared set, a model or a report: not what copies files or shows progress.
RUN_BY = (
    *(
        "albumentations",
        "h11",
        "jinja2",
        "matplotlib",
        "numpy",
        "opencv-python",
        "opencv-python-headless",
        "pandas",
    ),
    *("pillow", "pyarrow", "pydantic", "safetensors", "sagemaker", "sagemaker-pytorch-training"),
    *("sagemaker-training", "scikit-learn", "scipy", "simplejpeg", "starlette", "timm", "torch"),
    *("torchvision", "uvicorn"),
)


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Trapline, Python and the named distributions; those not installed are left out."""
    found = {"trapline": trapline.__version__, "python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_and_versions(files: Iterable[tuple[str, Path]], image: Sequence[str] = ()) -> str:
    """SHA-256 of code, (name, file) pairs, and of what runs it: part of the name of what is kept for reuse.

    `image`: the digests of the container image where the code runs in one, whose versions they stand for;
    else those installed here count.
    """
    made_by = [digest_of(files), list(image) or versions(*RUN_BY)]
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
