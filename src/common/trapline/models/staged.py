"""Staged weights: torchvision's pretrained ones in a folder or below an S3 prefix, with their checksums.

`weights.json` beside the files says what each is, and launch/stage_weights.py writes both. A job without
internet reads them as its channel `weights`, and nothing is loaded whose checksum is another.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torchvision

from trapline.errors import TraplineError, UsageError
from trapline.models.build import imagenet_source
from trapline.s3 import fetch
from trapline.storage import file_digest, read_json

MANIFEST = "weights.json"
VERSION = 1
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")  # torch.hub's: the start of the file's SHA-256
LICENCE = (
    "published with torchvision (BSD 3-Clause); trained on ImageNet, whose images have terms of their own"
)


@dataclass(frozen=True)
class Published:
    """What torchvision publishes for an architecture: its best ImageNet weights."""

    arch: str
    weights: str  # torchvision's name, as in ResNet18_Weights.IMAGENET1K_V1
    url: str
    licence: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class StagedFile:
    """One file of the manifest. `weights` is torchvision's name, empty for a file of one's own."""

    arch: str
    file: str
    weights: str
    sha256: str
    bytes: int
    licence: str

    @property
    def identity(self) -> str:
        """What a model remembers of its first weights: the same as after a download."""
        return self.weights or self.sha256


def published(arch: str) -> Published:
    """torchvision's ImageNet weights for `arch`, under the name of torchvision's architecture.

    Raises UsageError for an unknown name, or one without any.
    """
    source = imagenet_source(arch)
    if source is None:
        raise UsageError(f"weights: torchvision has no ImageNet weights of {arch}")
    best = torchvision.models.get_model_weights(source).DEFAULT
    own = best.meta.get("license")
    return Published(source, str(best), best.url, f"{own} (of these weights)" if own else LICENCE)


def describe(arch: str, path: Path, source: Published) -> StagedFile:
    """The manifest's entry of the file at `path`.

    Raises TraplineError where the hash in its name is not the start of its SHA-256.
    """
    digest = file_digest(path)
    named = HASH_IN_NAME.search(path.name)
    if named and not digest.startswith(named[1]):
        raise TraplineError(
            f"{path}: its SHA-256 is {digest}, which does not begin with {named[1]}, the hash in its name; "
            "the file is damaged, fetch it again"
        )
    official = path.name == source.file
    weights, licence = (source.weights, source.licence) if official else ("", "of the file's owner")
    return StagedFile(arch, path.name, weights, digest, path.stat().st_size, licence)


def manifest(files: Mapping[str, StagedFile]) -> dict[str, Any]:
    """The content of weights.json."""
    return {"version": VERSION, "files": {arch: asdict(files[arch]) for arch in sorted(files)}}


def read_manifest(path: Path, shown_as: str | None = None) -> dict[str, StagedFile]:
    """The files of a weights.json by architecture.

    Messages call it `shown_as`. Raises TraplineError when it is missing or not one of this project.
    """
    shown = shown_as or str(path)
    if not path.is_file():
        raise TraplineError(
            f"{path.parent}: holds no {MANIFEST}; launch/stage_weights.py ARCH --to it writes one"
        )
    content = read_json(path)
    try:
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}, not {VERSION}")
        files = {arch: StagedFile(**entry) for arch, entry in content["files"].items()}
        for item in files.values():
            if Path(item.file).name != item.file:
                raise ValueError(f"{item.file!r} is no file name")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TraplineError(f"{shown}: not a manifest of staged weights ({error}); stage them anew") from None
    return files


def find_staged(files: Mapping[str, StagedFile], arch: str, shown: str) -> StagedFile:
    """The entry of the weights that fit `arch`. Raises TraplineError naming what is there."""
    source = imagenet_source(arch) or arch
    if source not in files:
        there = ", ".join(sorted(files)) or "none"
        raise TraplineError(
            f"{shown}: holds no weights of {arch} (it holds {there}); add them with "
            f"launch/stage_weights.py {arch}"
        )
    return files[source]


def checked_file(folder: Path, arch: str) -> tuple[Path, str]:
    """The file of `arch` in the staged `folder`, whose bytes are those that were staged, and its identity.

    Raises TraplineError for a file that is not there or whose SHA-256 is not the manifest's.
    """
    entry = find_staged(read_manifest(folder / MANIFEST), arch, str(folder))
    path = folder / entry.file
    if not path.is_file():
        raise TraplineError(f"{path}: no such file, but {MANIFEST} names it; stage {arch} anew")
    digest = file_digest(path)
    if digest != entry.sha256:
        raise TraplineError(
            f"{path}: its SHA-256 is {digest}, but {MANIFEST} says {entry.sha256}; it was changed or "
            f"damaged, stage {arch} anew"
        )
    return path, entry.identity


def fetch_staged(uri: str, folder: Path, arch: str) -> None:
    """Copy the manifest and the file of `arch` from the S3 prefix `uri` into `folder`; others are not needed.

    Raises TraplineError where they are not there or S3 does not give them.
    """
    prefix = uri.rstrip("/")
    listed = read_manifest(fetch(f"{prefix}/{MANIFEST}", folder / MANIFEST), f"{prefix}/{MANIFEST}")
    entry = find_staged(listed, arch, uri)
    path = folder / entry.file
    if not (path.is_file() and file_digest(path) == entry.sha256):
        fetch(f"{prefix}/{entry.file}", path)
