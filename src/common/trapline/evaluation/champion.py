"""The champion's artefact: the model.tar.gz of its phase, with what evaluation chose in its model.json."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from trapline.archive_names import STORED
from trapline.errors import TraplineError
from trapline.models.artefact import DESCRIPTION, ModelDescription, read_description
from trapline.storage import atomic_file
from trapline.unpacking import FILE_MODE


def with_choices(
    description: ModelDescription,
    *,
    temperature: float,
    views: Sequence[str],
    thresholds: Sequence[float] | None = None,
) -> ModelDescription:
    """The description with other choices, checked as one that is read."""
    content = description.model_dump(mode="json")
    chosen = {"temperature": temperature, "views": list(views), "thresholds": thresholds}
    return ModelDescription.model_validate({**content, **chosen})


def write_champion(artefact: Path, description: ModelDescription, target: Path) -> None:
    """Write the files of the folder `artefact` as the tar.gz `target`, with `description` as its model.json.

    All other files go in bit for bit. The archive is the same for the same content, and appears whole or not
    at all; model.json comes first in it, so that it is read without the weights.
    """
    files = [
        path for path in sorted(artefact.rglob("*")) if path.is_file() and path != artefact / DESCRIPTION
    ]
    content = json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    with (
        atomic_file(target) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=STORED, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        encoded = f"{content}\n".encode()
        archive.addfile(_member(DESCRIPTION, len(encoded)), io.BytesIO(encoded))
        for path in files:
            with path.open("rb") as source:
                archive.addfile(_member(path.relative_to(artefact).as_posix(), path.stat().st_size), source)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, FILE_MODE
    return member


def described(
    artefact: Path, shown_as: Path, classes: Sequence[str], fingerprint: str, task: str = "multiclass"
) -> ModelDescription:
    """The description of an artefact that was trained on the data set of `classes` and `fingerprint`.

    Raises TraplineError where it was not: a model that was trained on another division of the images may have
    seen what it is to be measured on.
    """
    if not (artefact / DESCRIPTION).is_file():
        raise TraplineError(f"{shown_as}: holds no {DESCRIPTION}; give the model of a training job")
    description = read_description(artefact)
    if description.classes != list(classes):
        raise TraplineError(
            f"{shown_as}: its classes ({', '.join(description.classes)}) are not those of the data set "
            f"({', '.join(classes)}); train it on this one"
        )
    if description.task != task:
        raise TraplineError(
            f"{shown_as}: its task is {description.task}, that of the data set {task}; train it on this one"
        )
    if description.data_fingerprint != fingerprint:
        raise TraplineError(
            f"{shown_as}: was trained on another data set ({description.data_fingerprint[:12]}, here "
            f"{fingerprint[:12]}); it may have seen what it is to be measured on: train it on this one"
        )
    return description
