"""Models of runs that have ended: fetched whole and checked, one alone or the average of several."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.errors import TraplineError, UsageError
from trapline.launching import staging
from trapline.launching.fetching import FoundRun, downloaded, find_run, require_finished
from trapline.launching.local.user_files import printable, walk
from trapline.launching.unpacked_folder import staging_folder
from trapline.unpacking import FILE_MODE, unpack

if TYPE_CHECKING:  # needs torch, which takes seconds
    from trapline.models.artefact import ModelDescription


def fetch_model(source: FoundRun, target: Path) -> "tuple[int, ModelDescription]":
    """Put the model of a finished run into `target`; return the number of files, and what model.json says.

    `target` must not exist, or be empty; it gets the whole, checked model or stays as it is. Raises
    TraplineError when the archive is damaged, hostile or no model of this project, or cannot be had.
    """
    if source.model is None:
        raise TraplineError(f"{source.name}: the job has left no model; its log may say why")
    with staging_folder(target) as folder:
        if isinstance(source.model, Path) and source.model.is_dir():
            files = _copy_folder(source.model, folder)
        else:
            with downloaded(source.model, folder.parent) as stream:
                files = unpack(stream, str(source.model), folder)
        description = _checked_model(folder, str(source.model))
    return files, description


def _copy_folder(source: Path, target: Path) -> int:
    """Copy the files of a model folder; links are refused as they are in an archive."""
    entries = list(walk(source, skips=lambda name: False))
    for found in entries:
        if found.link or found.kind != "file":
            raise TraplineError(f"{printable(found.path)}: is no plain file; a model has nothing else")
        copy = target / found.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.path, copy)
        os.chmod(copy, FILE_MODE)  # noqa: PTH101
    return len(entries)


def _checked_model(folder: Path, shown_as: str) -> "ModelDescription":
    """Load all weights as serving would."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trapline.models.artefact import load_model

    try:
        description = load_model(folder, which="best")[1]
        if not description.members:  # an ensemble has no last epoch
            load_model(folder, which="last")
        return description
    except TraplineError as error:
        # The folder is gone when the message is read; what was given is not.
        raise TraplineError(str(error).replace(str(folder), shown_as)) from None


def average(names: Sequence[str], runs: Path, target: Path) -> str:
    """Write the ensemble of the runs that `names` name to the folder `target`, and return what it is.

    Raises UsageError where they do not go together or one is named twice, TraplineError where one cannot be
    had.
    """
    if len(set(names)) < len(names):
        raise UsageError("a model is named twice, which would give it two votes; name each once")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    found = {name: require_finished(find_run(name, runs)) for name in names}
    with tempfile.TemporaryDirectory(prefix="trapline-members-") as folder, staging_folder(target) as made:
        members = {name: Path(folder) / str(number) for number, name in enumerate(found)}
        for name, source in found.items():
            fetch_model(source, members[name])
        from trapline.models.ensemble import write_ensemble  # late: --help and a typing error need no torch
        from trapline.versions import versions

        described = write_ensemble(
            members, made, staging.sources(), versions("torch", "torchvision", "safetensors")
        )
    kinds = ", ".join(member.architecture for member in described.members)
    return f"model: {target} ({len(members)} members: {kinds}; {described.parameters:,} parameters)"
