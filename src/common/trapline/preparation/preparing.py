"""From raw images to the prepared data set: list, decode and pack, split, write, sum up."""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from trapline.channels import ensure_writable
from trapline.console import note, progress, table
from trapline.data.prepared import (
    DESCRIPTION,
    PARTS,
    SUBMISSION_FORMAT,
    DatasetDescription,
    PartFiles,
    Split,
)
from trapline.data.quarantine import (
    FILE_NAME,
    PAYLOAD_TOO_LARGE,
    UNKNOWN_PART,
    UNKNOWN_SITE,
    Quarantined,
    check_share,
    counts_by_reason,
    write_quarantine,
)
from trapline.data.transform_input import TRANSFORM_FOLDER, write_transform_input
from trapline.images.canonical import PixelSettings
from trapline.job_options import PrepareOptions
from trapline.payload import MAX_FILE_BYTES
from trapline.preparation.demo import DemoSettings
from trapline.preparation.division import (
    counts_of_classes,
    divide,
    has_unseen_sites,
    sequence_scope,
    shares_of,
    split_policy,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.label_names import renamed
from trapline.preparation.listing import GIVEN, LABELS, UNLABELED, SiteRule, Source, limited
from trapline.preparation.packing import Quality, Unusable, pack_files
from trapline.preparation.parts import PackedWriter, write_parts
from trapline.preparation.raw_input import DEMO, RawInput, raw_input
from trapline.preparation.split_notes import SplitKind
from trapline.preparation.splits import HONEST_SHARES, SplitPolicy
from trapline.preparation.summary import summarise
from trapline.s3 import fetch, is_s3
from trapline.storage import write_json
from trapline.typed import prepare_option
from trapline.versions import versions

JPEG_QUALITY = 90
SUMMARY = "summary.json"
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
    quality: Quality | Literal["auto"]  # auto: 90, but without loss where images came as a few pixels each
    split: SplitKind | None
    shares: tuple[float, float, float] | None
    val_share: float | None  # of a source with train and test alone: what is taken from train for val
    label_names: str | None  # a CSV with a name for each label: a file, here or in the input, or an S3 URI
    seed: int
    max_quarantine: float
    processes: int | None
    limit_per_class: int | None  # for trial runs: so many images of each class at the most
    source_name: str  # for the record: under SageMaker the input is a mount
    follow_links: bool = False  # whether links may lead out of the input folder
    settings: Mapping[str, Any] = field(default_factory=dict)  # what prepare.py was told, for summary.json


def from_options(options: PrepareOptions) -> Preparation:
    """The preparation that prepare.py's options ask for."""
    return Preparation(
        input=options.input,
        output=Path(options.output),
        demo=DemoSettings(
            images=options.demo_images,
            unlabeled=options.demo_unlabeled,
            sites=options.demo_sites,
            seed=options.seed,
        ),
        rule=SiteRule(options.site_csv, re.compile(options.site_regex) if options.site_regex else None),
        pixels=PixelSettings(short_side=options.short_side, crop_bottom=options.crop_bottom),
        quality=None if options.quality == "lossless" else options.quality,
        split=options.split,
        shares=options.shares,
        val_share=options.val_share,
        label_names=options.label_names,
        seed=options.seed,
        max_quarantine=options.max_quarantine,
        processes=options.processes,
        limit_per_class=options.limit_per_class,
        source_name=options.source_name or options.input,
        follow_links=options.follow_links,
        settings=options.result_settings(),
    )


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
        raw_input(
            options.input,
            options.output,
            work,
            options.rule,
            options.demo,
            processes=options.processes,
            follow_links=options.follow_links,
        ) as raw,
    ):
        source, left_out = _limited(_read(raw, options, work), options)
        policy = split_policy(source, options.split, options.shares, options.val_share, options.seed)
        quality = _quality(options, raw)
        inputs = _pack(source, raw.lost, options, policy, quality, work)
        path = write_quarantine(options.output, inputs.quarantined)
        check_share(inputs.quarantined, inputs.total, options.max_quarantine, path)
        images, notes = divide(inputs.images, source.classes, policy)
        notes = [*source.notes, *left_out, *notes]
        new = work / "new"
        new.mkdir()
        parts = write_parts(work / "packed.arrow", images, new, PARTS)
        unlabeled = source.images[source.images["label"] == UNLABELED]
        write_transform_input(new / TRANSFORM_FOLDER, unlabeled, inputs.quarantined)
        description = _describe(options, source, policy, quality, images, parts)
        write_json(new / SUMMARY, _summary(options, description, source, images, inputs, notes))
        if source.submission_format:
            shutil.copyfile(source.submission_format, new / SUBMISSION_FORMAT)
        _replace(options.output, new)
        write_json(options.output / DESCRIPTION, description.model_dump(mode="json"))
    _report(options.output, description, inputs, notes)


def _summary(
    options: Preparation,
    description: DatasetDescription,
    source: Source,
    images: pd.DataFrame,
    inputs: Inputs,
    notes: list[str],
) -> dict[str, Any]:
    content = summarise(description, images, inputs.quarantined, inputs.total, notes)
    merged = {kind: dict(found) for kind, found in source.merged.items()}
    return {**content, "merged": merged, "options": dict(options.settings)}


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


def _read(raw: RawInput, options: Preparation, work: Path) -> Source:
    """The source's listing, its classes under the names that `label_names` gives them."""
    source = raw.read()
    given = options.label_names
    if given is None:
        return source
    if is_s3(given):
        return renamed(source, fetch(given, work / "label_names.csv"), given)
    inside = (
        Path(given) if Path(given).is_file() else InputFolder(raw.folder, options.follow_links).table(given)
    )
    return renamed(source, inside or raw.folder / given, given)


def _quality(options: Preparation, raw: RawInput) -> Quality:
    if options.quality != "auto":
        return options.quality
    return None if raw.exact else JPEG_QUALITY


def _limited(source: Source, options: Preparation) -> tuple[Source, list[str]]:
    """What `limit_per_class` leaves, and a note that says so."""
    limit = options.limit_per_class
    if limit is None:
        return source, []
    kept = limited(source, limit, options.seed)
    left_out, total = len(source.images) - len(kept.images), len(source.images)
    return kept, [f"{prepare_option('limit-per-class', limit)}: {left_out} of {total} images were left out"]


def _pack(
    source: Source,
    lost: Mapping[str, Unusable],
    options: Preparation,
    policy: SplitPolicy,
    quality: Quality,
    work: Path,
) -> Inputs:
    quarantined = list(source.quarantined)
    writer = PackedWriter(work / "packed.arrow")
    facts: list[tuple[int, int, int, str]] = []
    closed = {**{path: Unusable(*problem) for path, problem in source.barred.items()}, **lost}
    paths = ["" if path in closed else path for path in source.images["path"]]  # which opens nothing
    results = pack_files(paths, options.pixels, quality, options.processes)
    bar = progress(results, "packing", len(source.images))
    for image, packed in zip(_rows(source.images), bar, strict=True):
        result = closed.get(image.path, packed)
        problem = result if isinstance(result, Unusable) else _unwanted(image, policy)
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


def _unwanted(image: Any, policy: SplitPolicy) -> Unusable | None:
    """Why an image that can be decoded is of no use."""
    return _too_large(image.path) if image.label == UNLABELED else _without_a_place(image, policy)


def _too_large(path: str) -> Unusable | None:
    """Why an unlabelled image cannot be predicted: a larger file would fail the whole of batch transform."""
    size = Path(path).stat().st_size
    if size <= MAX_FILE_BYTES:
        return None
    limit = f"{size} bytes, and batch transform sends at most {MAX_FILE_BYTES}"
    return Unusable(PAYLOAD_TOO_LARGE, f"{limit}; save it smaller, as JPEG or with fewer pixels")


def _without_a_place(image: Any, policy: SplitPolicy) -> Unusable | None:
    """Why the split has no place for a labelled image.

    One that could be from any camera would break the promise of a split by site.
    """
    if policy.kind == "site" and image.site is None:
        return Unusable(
            UNKNOWN_SITE, f"no site, and the split is by site; or use {prepare_option('split', 'random')}"
        )
    if policy.kind == "given" and getattr(image, GIVEN) is None:
        return Unusable(
            UNKNOWN_PART,
            f"no part, and the split is the data's own; or use {prepare_option('split', 'random')} or site",
        )
    return None


def _describe(
    options: Preparation,
    source: Source,
    policy: SplitPolicy,
    quality: Quality,
    images: pd.DataFrame,
    parts: dict[str, PartFiles],
) -> DatasetDescription:
    counts = {
        part: {name: int(count) for name, count in zip(source.classes, column, strict=True)}
        for part, column in counts_of_classes(images, len(source.classes)).items()
    }
    return DatasetDescription(
        format_version=1,
        task=source.task,
        classes=source.classes,
        class_codes=source.class_codes,
        source=options.source_name,
        drawn=options.input == DEMO,
        split=Split(
            kind=policy.kind,
            shares=shares_of(policy, images),
            seed=policy.seed,
            unseen_sites=has_unseen_sites(policy, images),
            sequences=sequence_scope(images),
        ),
        pixels=asdict(options.pixels),
        jpeg_quality=quality,
        parts=parts,
        counts=counts,
        fingerprint=_fingerprint(options, quality, source, images),
        versions=versions("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg"),
    )


def _fingerprint(options: Preparation, quality: Quality, source: Source, images: pd.DataFrame) -> str:
    """SHA-256 over the settings and, in order, every row's id, original bytes, labels, site and part."""
    settings = {"classes": source.classes, "pixels": asdict(options.pixels), "quality": quality}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    labels = LABELS if source.task == "multilabel" else "label"
    for row in images[["id", "sha256", labels, "site", "part"]].itertuples(index=False):
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
    for said in notes[:NOTES_SHOWN]:
        note(said)
    if len(notes) > NOTES_SHOWN:
        print(f"note: {len(notes) - NOTES_SHOWN} more in {SUMMARY}")
    if not description.split.unseen_sites:
        print("note: nothing can be claimed about cameras that were not seen in training")
    print(f"prepared: {output}", flush=True)
