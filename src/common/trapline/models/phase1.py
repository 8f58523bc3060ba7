"""Starting from an earlier job's model: a folder or an archive, with its head and its normalisation."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from trapline.errors import TraplineError, UsageError
from trapline.models.artefact import DESCRIPTION, STEMS, ModelDescription, read_description
from trapline.models.weights import WeightsReport, copy_tensors, match_tensors, name_some, read_tensors
from trapline.s3 import fetch
from trapline.s3_folder import fetch_folder
from trapline.s3_places import place_of
from trapline.storage import file_digest
from trapline.unpacking import unpack

PHASE1 = "phase1"  # the value of `weights`
ARCHIVE = "model.tar.gz"
WEIGHTS = f"{STEMS['best']}.safetensors"


@dataclass(frozen=True)
class Phase1:
    """The model that Phase 2 starts from: what describes it, and the file with the best epoch's tensors."""

    description: ModelDescription
    weights: Path


def fetch_artefact(uri: str, target: Path) -> None:
    """Copy the artefact at `uri` in S3, an archive or a folder with one, to the folder `target`.

    Raises TraplineError as `fetch` and `fetch_folder` do.
    """
    if place_of(uri).kind == "object":
        target.mkdir(parents=True, exist_ok=True)
        fetch(uri, target / ARCHIVE)
        return
    fetch_folder(uri, target, only=(ARCHIVE, DESCRIPTION, WEIGHTS))


@contextlib.contextmanager
def opened_artefact(source: Path) -> Iterator[Path]:
    """The artefact's folder, for the length of the block.

    `source` is that folder, an archive of it (model.tar.gz), or a folder with such an archive, as SageMaker's
    channels are. Raises TraplineError when it is none of these, or the archive is damaged.
    """
    archive = source / ARCHIVE if source.is_dir() else source
    if (source / DESCRIPTION).is_file():
        yield source
        return
    if not archive.is_file():
        raise TraplineError(
            f"{source}: holds neither {DESCRIPTION} nor {ARCHIVE}; give a job's model folder or archive"
        )
    with tempfile.TemporaryDirectory(prefix="trapline-model-") as folder:
        with archive.open("rb") as stream:
            unpack(stream, str(archive), Path(folder))
        yield Path(folder)


def read_phase1(folder: Path, arch: str, classes: Sequence[str]) -> Phase1:
    """The artefact in `folder` as a start for a model of `arch` with `classes`, in that order.

    Raises UsageError where it is another architecture, TraplineError for other classes or a damaged artefact.
    """
    description = read_description(folder)
    if description.members:
        raise UsageError(
            f"weights phase1: that model is an ensemble of {len(description.members)}; start from one of them"
        )
    if description.architecture != arch:
        raise UsageError(
            f"weights phase1: that model is a {description.architecture}, and this one a {arch}; "
            f"set arch={description.architecture}"
        )
    if description.classes != list(classes):
        raise TraplineError(
            f"weights phase1: its classes are {name_some(description.classes)}, those of the prepared set "
            f"{name_some(classes)}; names and order must be the same"
        )
    return Phase1(description, folder / WEIGHTS)


def load_phase1(model: nn.Module, phase1: Phase1) -> WeightsReport:
    """Fill all of `model` in place, the head too, and report it; `identity` is the file's SHA-256.

    Raises TraplineError when the tensors cannot be read or one does not fit.
    """
    tensors = read_tensors(phase1.weights)
    match = match_tensors(model.state_dict(), tensors)
    different = [f"{name} {shapes}" for name, shapes in match.different.items()]
    misfits = [*match.missing, *different, *match.unused]
    if misfits:
        raise TraplineError(
            f"weights phase1 do not fit: {len(misfits)} tensors are missing, of another shape or unknown "
            f"({name_some(misfits)}); train with its image_size, {phase1.description.image_size}"
        )
    copy_tensors(model, tensors)
    return WeightsReport(PHASE1, file_digest(phase1.weights), len(match.fitting), (), ())
