"""What jobs on this machine read, put where they look for it: links, copies, and what is fetched from S3."""

import shutil
from pathlib import Path

from trapline.launching.job_requests import PREPARED, PSEUDO, WEIGHTS
from trapline.launching.local.backend import DATA, LABELS, MADE, SITES, PlannedRun
from trapline.launching.local.sources import local_path
from trapline.s3 import is_s3


def put_raw_images(run: PlannedRun) -> None:
    """Put the raw images, and the files that prepare.py's options name, into folders; make that of the set.

    An archive is copied, files too: containers see folders, and no link leads out of one.
    """
    source = run.raw_source
    if source and source.is_dir():
        run.workspace.link(DATA, source)
    elif source:
        shutil.copyfile(source, run.workspace.folder(DATA) / source.name)
    sites, labels = run.plan.prepare_options.get("site-csv"), run.plan.label_names
    for folder, file, name in ((SITES, sites, "sites.csv"), (LABELS, labels, "labels.csv")):
        if file is not None:
            shutil.copy(file, run.workspace.folder(folder) / name)
    run.workspace.folder(MADE)


def put_channels(run: PlannedRun, prepared: str) -> None:
    """Put the prepared set and what else a training reads where it looks for them."""
    if is_s3(prepared):
        from trapline.data.prepared import PARTS, fetch_prepared

        parts = PARTS if PSEUDO in run.plan.channels else ("train", "val")
        fetch_prepared(prepared, run.workspace.root / PREPARED, parts)
        run.workspace.link(PREPARED, run.workspace.root / PREPARED)
    else:
        run.workspace.link(PREPARED, Path(local_path(prepared)))
    for name, source in run.plan.channels.items():
        put_channel(run, name, source)


def put_channel(run: PlannedRun, name: str, source: str) -> None:
    """A channel beside the prepared set: a folder, for a single archive too, as on SageMaker."""
    path = Path(local_path(source))
    if path.is_dir():
        run.workspace.link(name, path)
        return
    folder = run.workspace.folder(name)
    if is_s3(source):
        _fetch(name, source, folder, run.plan.config.arch)
    elif run.runtime.engine is None:
        (folder / "model.tar.gz").symlink_to(path.resolve())
    else:  # no link leads out of a container
        shutil.copyfile(path, folder / "model.tar.gz")


def _fetch(name: str, source: str, folder: Path, arch: str) -> None:
    from trapline.data.pseudo import fetch_pseudo_labels
    from trapline.models.phase1 import fetch_artefact
    from trapline.models.staged import fetch_staged

    if name == WEIGHTS:
        fetch_staged(source, folder, arch)
    else:
        (fetch_pseudo_labels if name == PSEUDO else fetch_artefact)(source, folder)
