"""From raw images to the prepared data set: list, decode and pack, split, write, sum up."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

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
    TRANSFORM_FOLDER,
    UNKNOWN_PART,
    UNKNOWN_SITE,
    Quarantined,
    check_share,
    counts_by_reason,
    write_quarantine,
    write_transform_input,
)
from trapline.images.canonical import PixelSettings
from trapline.job_contract import MAX_FILE_BYTES, ensure_writable, prepare_option, versions
from trapline.job_options import PrepareOptions
from trapline.preparation.division import (
    counts_of_classes,
    divide,
    has_unseen_sites,
    sequence_scope,
    shares_of,
    split_policy,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import GIVEN, LABELS, UNLABELED, Source, limited, named_rows, renamed
from trapline.preparation.packing import Quality, Unusable, pack_files, write_packed, write_parts
from trapline.preparation.sources import DEMO, raw_input
from trapline.preparation.splits import HONEST_SHARES, SplitPolicy
from trapline.preparation.summary import summarise
from trapline.s3 import fetch, is_s3
from trapline.storage import write_json

JPEG_QUALITY = 90
SUMMARY = "summary.json"
NOTES_SHOWN = 10
CLASSES_SHOWN = 40


def prepare(options: PrepareOptions) -> None:
    """Write the prepared data set to `output` and print a table of counts.

    An earlier set there is replaced when the new one is whole; `dataset.json` comes last. Raises
    TraplineError when the source cannot be read or too much of it is unusable; `quarantine.csv` is written
    all the same.
    """
    SplitPolicy("random", options.shares or HONEST_SHARES, options.seed)  # impossible shares: before the work
    output = Path(options.output)
    ensure_writable(output)
    (output / DESCRIPTION).unlink(missing_ok=True)
    pixels = PixelSettings(short_side=options.short_side, crop_bottom=options.crop_bottom)
    with _work_folder(output) as work, raw_input(options, work) as (listing, folder, is_exact):
        source, left_out = _limited(_renamed(listing, folder, options, work), options)
        policy = split_policy(source, options.split, options.shares, options.val_share, options.seed)
        quality: Quality = None if is_exact else JPEG_QUALITY  # without loss where images are a few pixels
        if options.quality != "auto":
            quality = None if options.quality == "lossless" else options.quality
        inputs = len(source.images) + len(source.quarantined)
        usable, quarantined = _pack(source, pixels, quality, policy, options.processes, work)
        path = write_quarantine(output, quarantined)
        check_share(quarantined, inputs, options.max_quarantine, path)
        images, notes = divide(usable, source.classes, policy)
        notes = [*source.notes, *left_out, *notes]
        new = work / "new"
        new.mkdir()
        parts = write_parts(work / "packed.arrow", images, new, PARTS)
        write_transform_input(
            new / TRANSFORM_FOLDER, source.images[source.images["label"] == UNLABELED], quarantined
        )
        description = _describe(options, source, policy, pixels, quality, images, parts)
        summary = {
            **summarise(description, images, quarantined, inputs, notes),
            "merged": {kind: dict(found) for kind, found in source.merged.items()},
            "options": options.result_settings(),
        }
        write_json(new / SUMMARY, summary)
        if source.submission_format:
            shutil.copyfile(source.submission_format, new / SUBMISSION_FORMAT)
        _replace(output, new)
        write_json(output / DESCRIPTION, description.model_dump(mode="json"))
    _report(output, description, quarantined, inputs, notes)


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder beside the results for what is unfinished; what a killed run left there goes first."""
    work = output / ".preparing"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _renamed(source: Source, folder: InputFolder, options: PrepareOptions, work: Path) -> Source:
    """The listing of `folder`, its classes under the names that `label_names` gives them."""
    given = options.label_names
    if given is None:
        return source
    if is_s3(given):
        return renamed(source, fetch(given, work / "label_names.csv"), given)
    inside = Path(given) if Path(given).is_file() else folder.table(given)
    return renamed(source, inside or folder.path / given, given)


def _limited(source: Source, options: PrepareOptions) -> tuple[Source, list[str]]:
    """What `limit_per_class` leaves, and a note that says so."""
    limit = options.limit_per_class
    if limit is None:
        return source, []
    kept = limited(source, limit, options.seed)
    left_out, total = len(source.images) - len(kept.images), len(source.images)
    return kept, [f"{prepare_option('limit-per-class', limit)}: {left_out} of {total} images were left out"]


def _pack(
    source: Source,
    pixels: PixelSettings,
    quality: Quality,
    policy: SplitPolicy,
    processes: int | None,
    work: Path,
) -> tuple[pd.DataFrame, list[Quarantined]]:
    """The usable images, indexed by source row, with width, height and sha256; and what is not usable."""
    quarantined = list(source.quarantined)
    facts: list[tuple[int, int, int, str]] = []
    closed = {path: Unusable(*problem) for path, problem in source.barred.items()}
    paths = ["" if path in closed else path for path in source.images["path"]]  # which opens nothing
    results = progress(pack_files(paths, pixels, quality, processes), "packing", len(source.images))

    def usable() -> Iterator[tuple[int, bytes]]:
        for image, packed in zip(named_rows(source.images), results, strict=True):
            result = closed.get(image.path, packed)
            problem = result if isinstance(result, Unusable) else _unwanted(image, policy)
            if isinstance(problem, Unusable):
                quarantined.append(Quarantined(image.id, image.filepath, problem.reason, problem.detail))
            elif not isinstance(result, Unusable):
                facts.append((image.Index, result.width, result.height, result.sha256))
                yield image.Index, result.image

    write_packed(work / "packed.arrow", usable())
    sizes = pd.DataFrame(facts, columns=["row", "width", "height", "sha256"]).set_index("row")
    return source.images.loc[sizes.index].join(sizes), quarantined


def _unwanted(image: Any, policy: SplitPolicy) -> Unusable | None:
    """Why an image that can be decoded is of no use.

    An unlabelled one that is too large would fail the whole of batch transform. A labelled one may have no
    place in the split: one that could be from any camera would break the promise of a split by site.
    """
    if image.label == UNLABELED:
        size = Path(image.path).stat().st_size
        if size <= MAX_FILE_BYTES:
            return None
        return Unusable(
            PAYLOAD_TOO_LARGE,
            f"{size} bytes, and batch transform sends at most {MAX_FILE_BYTES}; save it smaller, as JPEG or "
            "with fewer pixels",
        )
    way_out = prepare_option("split", "random")
    if policy.kind == "site" and image.site is None:
        return Unusable(UNKNOWN_SITE, f"no site, and the split is by site; or use {way_out}")
    if policy.kind == "given" and getattr(image, GIVEN) is None:
        return Unusable(UNKNOWN_PART, f"no part, and the split is the data's own; or use {way_out} or site")
    return None


def _describe(
    options: PrepareOptions,
    source: Source,
    policy: SplitPolicy,
    pixels: PixelSettings,
    quality: Quality,
    images: pd.DataFrame,
    parts: dict[str, PartFiles],
) -> DatasetDescription:
    return DatasetDescription(
        format_version=1,
        task=source.task,
        classes=source.classes,
        class_codes=source.class_codes,
        source=options.source_name or options.input,
        drawn=options.input == DEMO,
        split=Split(
            kind=policy.kind,
            shares=shares_of(policy, images),
            seed=policy.seed,
            unseen_sites=has_unseen_sites(policy, images),
            sequences=sequence_scope(images),
        ),
        pixels=asdict(pixels),
        jpeg_quality=quality,
        parts=parts,
        counts=counts_of_classes(images, source.classes),
        fingerprint=_fingerprint(pixels, quality, source, images),
        versions=versions("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg"),
    )


def _fingerprint(pixels: PixelSettings, quality: Quality, source: Source, images: pd.DataFrame) -> str:
    """SHA-256 over the settings and, in order, every row's id, original bytes, labels, site and part."""
    settings = {"classes": source.classes, "pixels": asdict(pixels), "quality": quality}
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


def _report(
    output: Path,
    description: DatasetDescription,
    quarantined: Sequence[Quarantined],
    inputs: int,
    notes: Sequence[str],
) -> None:
    parts = list(description.counts)
    shown = description.classes[:CLASSES_SHOWN]
    rows = [[name, *(str(description.counts[part][name]) for part in parts)] for name in shown]
    if len(shown) < len(description.classes):
        rows.append([f"{len(description.classes) - len(shown)} more in {SUMMARY}", *("..." for _ in parts)])
    rows.append(["all classes", *(str(description.parts[part].images) for part in parts)])
    print(table(["class", *parts], rows))
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts_by_reason(quarantined).items())
    print(
        f"{inputs} inputs: {sum(description.parts[part].images for part in parts)} labelled, "
        f"{description.parts['unlabeled'].images} unlabelled, {len(quarantined)} in {FILE_NAME}"
        + (f" ({reasons})" if reasons else "")
    )
    for said in notes[:NOTES_SHOWN]:
        note(said)
    if len(notes) > NOTES_SHOWN:
        print(f"note: {len(notes) - NOTES_SHOWN} more in {SUMMARY}")
    if not description.split.unseen_sites:
        print("note: nothing can be claimed about cameras that were not seen in training")
    print(f"prepared: {output}", flush=True)
