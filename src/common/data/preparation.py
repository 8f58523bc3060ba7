"""From raw images to the prepared data set: list, decode and pack, split, write, sum up."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.channels import ensure_writable
from common.console import progress, table
from common.data.canonical import PixelSettings
from common.data.demo import DemoSettings
from common.data.leakage import duplicate_groups
from common.data.listing import GIVEN, UNLABELED, SiteRule, Source, limited
from common.data.packing import Unusable, pack_files
from common.data.parts import PackedWriter, write_parts
from common.data.prepared import DESCRIPTION, PARTS, DatasetDescription, PartFiles, Split
from common.data.quarantine import (
    FILE_NAME,
    UNKNOWN_SITE,
    Quarantined,
    check_share,
    counts_by_reason,
    write_quarantine,
)
from common.data.raw_input import DEMO, raw_input
from common.data.split_notes import SplitKind
from common.data.splits import HONEST_SHARES, RANDOM_SHARES, SplitPolicy, given_split, split
from common.data.summary import summarise
from common.data.transform_input import TRANSFORM_FOLDER, write_transform_input
from common.errors import TraplineError, UsageError
from common.storage import write_json
from common.versions import versions

LABELLED = ("train", "val", "test")
SUMMARY = "summary.json"
SUBMISSION_FORMAT = "submission_format.csv"
WORK = ".preparing"
NOTES_SHOWN = 10
CLASSES_SHOWN = 40


@dataclass(frozen=True)
class Preparation:
    """What to prepare and how. `split` None: the source's own, else by site where it has any, or random."""

    input: str  # a folder, an archive, an S3 URI of either, or `demo`
    output: Path
    demo: DemoSettings
    rule: SiteRule
    pixels: PixelSettings
    quality: int
    split: SplitKind | None
    shares: tuple[float, float, float] | None
    seed: int
    max_quarantine: float
    processes: int | None
    limit_per_class: int | None  # for trial runs: so many images of each class at the most
    source_name: str  # for the record: under SageMaker the input is a mount


@dataclass(frozen=True)
class Inputs:
    """The usable images, indexed by source row, with width, height and sha256; and what is not usable."""

    images: pd.DataFrame
    quarantined: list[Quarantined]
    total: int


def prepare(options: Preparation) -> None:
    """Write the prepared data set to `options.output` and print a table of counts.

    An earlier set there is replaced when the new one is whole; `dataset.json` comes last. Raises
    TraplineError when the source cannot be read or too much of it is unusable; `quarantine.csv` is written
    all the same.
    """
    SplitPolicy("random", options.shares or HONEST_SHARES, options.seed)  # impossible shares: before the work
    ensure_writable(options.output)
    (options.output / DESCRIPTION).unlink(missing_ok=True)
    with (
        _work_folder(options.output) as work,
        raw_input(options.input, options.output, work, options.rule, options.demo) as raw,
    ):
        source, left_out = _limited(raw.read(), options)
        policy = _split_policy(options, source)
        inputs = _pack(source, raw.lost, options, policy, work)
        path = write_quarantine(options.output, inputs.quarantined)
        check_share(inputs.quarantined, inputs.total, options.max_quarantine, path)
        images, notes = _divide(inputs.images, source.classes, policy)
        notes = [*left_out, *notes]
        new = work / "new"
        new.mkdir()
        parts = write_parts(work / "packed.arrow", images, new, PARTS)
        unlabeled = source.images[source.images["label"] == UNLABELED]
        write_transform_input(new / TRANSFORM_FOLDER, unlabeled, inputs.quarantined)
        description = _describe(options, source, policy, images, parts)
        write_json(new / SUMMARY, summarise(description, images, inputs.quarantined, inputs.total, notes))
        if source.submission_format:
            shutil.copyfile(source.submission_format, new / SUBMISSION_FORMAT)
        _replace(options.output, new)
        write_json(options.output / DESCRIPTION, description.model_dump(mode="json"))
    _report(options.output, description, inputs, notes)


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder beside the results for what is unfinished; what a killed run left there goes first."""
    work = output / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _limited(source: Source, options: Preparation) -> tuple[Source, list[str]]:
    """What `limit_per_class` leaves, and a note that says so."""
    most = options.limit_per_class
    if most is None:
        return source, []
    kept = limited(source, most, options.seed)
    left_out, total = len(source.images) - len(kept.images), len(source.images)
    return kept, [f"--limit-per-class {most}: {left_out} of {total} images were left out"]


def _split_policy(options: Preparation, source: Source) -> SplitPolicy:
    """The split asked for, else the source's own, else by site where there are sites, else random."""
    natural: SplitKind = "given" if source.has_split else "site" if source.has_sites else "random"
    kind = options.split or natural
    if kind == "site" and not source.has_sites:
        raise TraplineError("--split site: the source names no sites; give --site-csv or --site-regex")
    if kind == "given" and not source.has_split:
        raise TraplineError("--split given: the source comes with no split; use --split random")
    if kind == "given" and options.shares:
        raise UsageError("--shares: the source comes with a split; leave it out, or use --split random")
    shares = options.shares or (RANDOM_SHARES if options.split == "random" else HONEST_SHARES)
    return SplitPolicy(kind, shares, options.seed)


def _pack(
    source: Source, lost: Mapping[str, Unusable], options: Preparation, policy: SplitPolicy, work: Path
) -> Inputs:
    quarantined = list(source.quarantined)
    writer = PackedWriter(work / "packed.arrow")
    facts: list[tuple[int, int, int, str]] = []
    results = pack_files(source.images["path"].tolist(), options.pixels, options.quality, options.processes)
    bar = progress(results, "packing", len(source.images))
    for image, packed in zip(_rows(source.images), bar, strict=True):
        result = lost.get(image.path, packed)
        problem = result if isinstance(result, Unusable) else _without_site(image, policy)
        if isinstance(problem, Unusable):
            quarantined.append(Quarantined(image.id, image.filepath, problem.reason, problem.detail))
        elif not isinstance(result, Unusable):
            writer.add(image.Index, result)
            facts.append((image.Index, result.width, result.height, result.sha256))
    writer.close()
    sizes = pd.DataFrame(facts, columns=["row", "width", "height", "sha256"]).set_index("row")
    images = source.images.loc[sizes.index].join(sizes)
    return Inputs(images, quarantined, len(source.images) + len(source.quarantined))


def _rows(images: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples; what is in their columns is known here and not to the type checker."""
    yield from images.itertuples()


def _without_site(image: Any, policy: SplitPolicy) -> Unusable | None:
    """A labelled image that could be from any camera would break the promise of a split by site."""
    if policy.kind == "site" and image.label != UNLABELED and image.site is None:
        return Unusable(UNKNOWN_SITE, "no site, and the split is by site; or use --split random")
    return None


def _divide(images: pd.DataFrame, classes: list[str], policy: SplitPolicy) -> tuple[pd.DataFrame, list[str]]:
    """The images with their part in the column `part`, and notes for a person."""
    labelled = images[images["label"] != UNLABELED]
    _check_classes(labelled, classes)
    labels = labelled["label"].to_numpy(dtype=np.int64)
    groups = duplicate_groups(labelled["sha256"].tolist())
    if policy.kind == "given":
        result = given_split(labelled[GIVEN].to_numpy(dtype=str), labels, groups, classes)
    else:
        sites = labelled["site"].to_numpy(dtype=object) if policy.kind == "site" else None
        result = split(labels, sites, groups, policy, classes)
    part = pd.Series("unlabeled", index=images.index)
    part[labelled.index] = result.part
    return images.assign(part=part), result.notes


def _check_classes(labelled: pd.DataFrame, classes: list[str]) -> None:
    if len(classes) < 2:
        raise TraplineError(f"only one class ({', '.join(classes)}): a classifier needs at least two")
    counts = labelled["label"].value_counts()
    empty = [name for index, name in enumerate(classes) if index not in counts.index]
    if empty:
        raise TraplineError(
            f"no usable image of class {', '.join(empty)}: add some (see {FILE_NAME}) or remove the class"
        )


def _describe(
    options: Preparation,
    source: Source,
    policy: SplitPolicy,
    images: pd.DataFrame,
    parts: dict[str, PartFiles],
) -> DatasetDescription:
    counts = {
        part: {name: int(count) for name, count in zip(source.classes, column, strict=True)}
        for part, column in _counts(images, len(source.classes)).items()
    }
    return DatasetDescription(
        format_version=1,
        task="multiclass",
        classes=source.classes,
        class_codes=source.class_codes,
        source=options.source_name,
        drawn=options.input == DEMO,
        split=Split(
            kind=policy.kind,
            shares=_shares(policy, images),
            seed=policy.seed,
            unseen_sites=policy.kind == "site" or (policy.kind == "given" and _no_shared_sites(images)),
        ),
        pixels=asdict(options.pixels),
        jpeg_quality=options.quality,
        parts=parts,
        counts=counts,
        fingerprint=_fingerprint(options, source.classes, images),
        versions=versions("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg"),
    )


def _counts(images: pd.DataFrame, classes: int) -> dict[str, np.ndarray]:
    labelled = images[images["label"] != UNLABELED]
    return {
        part: np.bincount(labelled.loc[labelled["part"] == part, "label"].astype(int), minlength=classes)
        for part in LABELLED
    }


def _shares(policy: SplitPolicy, images: pd.DataFrame) -> dict[str, float]:
    """The shares asked for; of a split that came with the data, those found."""
    if policy.kind != "given":
        return dict(zip(LABELLED, policy.shares, strict=True))
    held = images["part"].value_counts()
    total = sum(int(held.get(part, 0)) for part in LABELLED)
    return {part: round(int(held.get(part, 0)) / total, 4) for part in LABELLED}


def _no_shared_sites(images: pd.DataFrame) -> bool:
    """Whether every labelled image has a site, and no site is in two parts: a split by site all the same."""
    labelled = images[images["label"] != UNLABELED]
    if labelled["site"].isna().any():
        return False
    return bool((labelled.groupby("site")["part"].nunique() == 1).all())


def _fingerprint(options: Preparation, classes: list[str], images: pd.DataFrame) -> str:
    """SHA-256 over the settings and, in order, every row's id, original bytes, label, site and part."""
    settings = {"classes": classes, "pixels": asdict(options.pixels), "quality": options.quality}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for row in images[["id", "sha256", "label", "site", "part"]].itertuples(index=False):
        digest.update(json.dumps([str(value) for value in row]).encode())
    return digest.hexdigest()


def _replace(output: Path, new: Path) -> None:
    """Put the finished entries in place of an earlier set's; nothing else in `output` is touched."""
    for name in (*PARTS, TRANSFORM_FOLDER):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / SUBMISSION_FORMAT).unlink(missing_ok=True)
    for entry in sorted(new.iterdir()):
        entry.rename(output / entry.name)


def _report(output: Path, description: DatasetDescription, inputs: Inputs, notes: list[str]) -> None:
    parts = list(description.counts)
    shown = description.classes[:CLASSES_SHOWN]
    rows = [[name, *(str(description.counts[part][name]) for part in parts)] for name in shown]
    if len(shown) < len(description.classes):
        rows.append([f"{len(description.classes) - len(shown)} more in {SUMMARY}", *("..." for _ in parts)])
    rows.append(["all classes", *(str(description.parts[part].images) for part in parts)])
    print(table(["class", *parts], rows))
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts_by_reason(inputs.quarantined).items())
    print(
        f"{inputs.total} inputs: {sum(description.parts[part].images for part in parts)} labelled, "
        f"{description.parts['unlabeled'].images} unlabelled, {len(inputs.quarantined)} in {FILE_NAME}"
        + (f" ({reasons})" if reasons else "")
    )
    for note in notes[:NOTES_SHOWN]:
        print(f"note: {note}")
    if len(notes) > NOTES_SHOWN:
        print(f"note: {len(notes) - NOTES_SHOWN} more in {SUMMARY}")
    if not description.split.unseen_sites:
        print("note: nothing can be claimed about cameras that were not seen in training")
    print(f"prepared: {output}", flush=True)
