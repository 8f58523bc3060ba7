"""From raw images to the prepared data set: list, decode and pack, split, write, sum up."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.console import note, progress, table
from trapline.data.prepared import (
    DESCRIPTION,
    DIVISION,
    PARTS,
    SUBMISSION_FORMAT,
    DatasetDescription,
    PartFiles,
    Split,
    fetch_prepared,
)
from trapline.data.quarantine import (
    FILE_NAME,
    PAYLOAD_TOO_LARGE,
    TRANSFORM_FOLDER,
    UNKNOWN_GROUP,
    UNKNOWN_PART,
    UNKNOWN_SITE,
    Quarantined,
    check_share,
    counts_by_reason,
    write_quarantine,
    write_transform_input,
)
from trapline.errors import UsageError
from trapline.images.canonical import PixelSettings
from trapline.job_contract import MAX_FILE_BYTES, ensure_writable, prepare_option, versions
from trapline.job_options import NEW_DIVISION, PrepareOptions
from trapline.preparation.bursts import sequence_weights, with_sequences
from trapline.preparation.clocks import with_times
from trapline.preparation.completion import last_division
from trapline.preparation.division import (
    KEPT,
    counts_of_classes,
    has_unseen_sites,
    sequence_scope,
    shares_of,
    split_policy,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.kept_division import Divided, divide_kept
from trapline.preparation.known_division import Division, read_division, write_division
from trapline.preparation.labelling import labelled
from trapline.preparation.listing import (
    GIVEN,
    GROUP,
    LABELS,
    TIME,
    UNLABELED,
    Source,
    limited,
    named_rows,
    renamed,
)
from trapline.preparation.packing import Quality, Unusable, pack_files, write_packed, write_parts
from trapline.preparation.raw_input import DEMO, raw_input
from trapline.preparation.splits import HONEST_SHARES, SplitPolicy
from trapline.preparation.summary import SUMMARY, summarise, with_leakage
from trapline.s3 import fetch, is_s3
from trapline.storage import write_json

JPEG_QUALITY = 90
NOTES_SHOWN = 10
DAY_LENGTH = len("2019-05-31")
CLASSES_SHOWN = 40
FACTS = ["row", "width", "height", "sha256", "likeness", "exif_time", "camera"]  # of each packed image


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
        files = _given_files(options, work)
        known = _known_division(options, files)
        source, labels = labelled(listing, options, files)
        source, left_out = _limited(_renamed(source, folder, options, work), options)
        policy = split_policy(
            source,
            options.split or ("site" if options.division and known and not options.group_by else None),
            options.shares,
            options.val_share,
            options.seed,
            options.group_by,
        )
        quality: Quality = None if is_exact else JPEG_QUALITY  # without loss where images are a few pixels
        if options.quality != "auto":
            quality = None if options.quality == "lossless" else options.quality
        inputs = len(source.images) + len(source.quarantined)
        usable, quarantined = _pack(source, pixels, quality, policy, options.processes, work)
        usable, of_times = with_times(usable, datetime.now())
        usable, of_sequences = with_sequences(usable, options.sequence_gap)
        usable, ungrouped = _with_groups(usable, policy)
        quarantined += ungrouped
        path = write_quarantine(output, quarantined)
        check_share(quarantined, inputs, options.max_quarantine, path)
        divided = divide_kept(usable, source.classes, policy, known, options.folds, options.fold)
        quarantined += divided.quarantined
        write_quarantine(output, quarantined)
        check_share(quarantined, inputs, options.max_quarantine, path)
        images = _weighted(divided.images, options.sequence_weights)
        notes = [*source.notes, *left_out, *of_times, *of_sequences, *divided.notes]
        new = work / "new"
        new.mkdir()
        if divided.division:
            write_division(new / DIVISION, divided.division)
        parts = write_parts(work / "packed.arrow", images, new, PARTS)
        write_transform_input(
            new / TRANSFORM_FOLDER, source.images[source.images["label"] == UNLABELED], quarantined
        )
        description = _describe(options, source, policy, pixels, quality, divided, images, parts, labels)
        summary = {
            **summarise(description, images, quarantined, inputs, notes, work / "packed.arrow"),
            "labels": labels,
            "merged": {kind: dict(found) for kind, found in source.merged.items()},
            "options": options.result_settings(),
        }
        description = with_leakage(description, summary)
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
    facts: list[tuple[object, ...]] = []
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
                size = (result.width, result.height)
                facts.append((image.Index, *size, result.sha256, result.likeness, result.time, result.camera))
                yield image.Index, result.image

    write_packed(work / "packed.arrow", usable())
    kinds = {"likeness": np.uint64, "exif_time": object, "camera": object}
    found = pd.DataFrame(facts, columns=FACTS).astype(kinds).set_index("row")
    texts = found[["exif_time", "camera"]]
    found[["exif_time", "camera"]] = texts.where(texts.notna(), None)
    return source.images.loc[found.index].join(found), quarantined


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


def _given_files(options: PrepareOptions, work: Path) -> dict[str, Path]:
    """The files that options name, by option, as local ones."""
    given = {name: getattr(options, name) for name in ("classes", "corrections", "division")}
    found = {}
    for name, place in given.items():
        if place is None or (name == "division" and place == NEW_DIVISION):
            continue
        if not is_s3(place):
            found[name] = Path(place)
        elif name == "division" and not place.lower().endswith(".csv"):
            found[name] = work / name
            fetch_prepared(place, found[name])
        else:
            found[name] = fetch(place, work / f"{name}.csv")
        if not found[name].exists():
            raise UsageError(f"{prepare_option(name, place)}: no such file")
    return found


def _known_division(options: PrepareOptions, files: Mapping[str, Path]) -> Division | None:
    """The division that is to be kept: the one that is given, else that of the last completed execution."""
    if options.division is None and options.completed and options.split in (None, "site"):
        return last_division(Path(options.completed), options.group_by or "site", _source_name(options))
    if "division" not in files:
        return None
    shown = prepare_option("division", str(options.division))
    return read_division(files["division"], options.group_by or "site", shown)


def _with_groups(images: pd.DataFrame, policy: SplitPolicy) -> tuple[pd.DataFrame, list[Quarantined]]:
    """The images with the group that the split keeps together, in `kept`; and those labelled without one."""
    by = policy.group_by
    if by == "site":
        return images.assign(**{KEPT: images["site"]}), []
    if by == "sequence":  # an image in none is one of its own
        alone = "image " + images["id"].astype(str)
        return images.assign(**{KEPT: images["sequence"].where(images["sequence"].notna(), alone)}), []
    if by == "date":
        kept = images[TIME].map(lambda time: time[:DAY_LENGTH] if isinstance(time, str) else None)
    elif GROUP in images.columns:
        kept = images[GROUP]
    else:
        kept = images["camera"]
    kept = kept.astype(object).where(kept.notna(), None)
    lost = images[kept.isna() & (images["label"] != UNLABELED)]
    detail = f"no {by}, and the split is by it; or leave out {prepare_option('group-by', by)}"
    gone = [Quarantined(str(row.id), str(row.filepath), UNKNOWN_GROUP, detail) for row in named_rows(lost)]
    return images.assign(**{KEPT: kept}).drop(index=lost.index), gone


def _weighted(images: pd.DataFrame, by_sequence: bool) -> pd.DataFrame:
    """The images with what each counts in training."""
    return images.assign(weight=sequence_weights(images["sequence"]) if by_sequence else 1.0)


def _describe(
    options: PrepareOptions,
    source: Source,
    policy: SplitPolicy,
    pixels: PixelSettings,
    quality: Quality,
    divided: Divided,
    images: pd.DataFrame,
    parts: dict[str, PartFiles],
    labels: Mapping[str, Any],
) -> DatasetDescription:
    return DatasetDescription(
        format_version=1,
        task=source.task,
        classes=source.classes,
        class_codes=source.class_codes,
        source=_source_name(options),
        drawn=options.input == (DEMO,),
        split=Split(
            kind=policy.kind,
            shares=shares_of(policy, images),
            seed=policy.seed,
            unseen_sites=has_unseen_sites(policy, images),
            sequences=sequence_scope(images),
            group_by=policy.group_by,
            division=divided.division.digest() if divided.division else None,
            line=divided.division.line if divided.division else None,
            folds=divided.folds,
            fold=divided.fold,
        ),
        pixels=asdict(pixels),
        jpeg_quality=quality,
        parts=parts,
        counts=counts_of_classes(images, source.classes),
        fingerprint=_fingerprint(pixels, quality, source, images, labels, options),
        versions=versions("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg"),
    )


def _source_name(options: PrepareOptions) -> str:
    return options.source_name or ", ".join(options.input)


def _fingerprint(
    pixels: PixelSettings,
    quality: Quality,
    source: Source,
    images: pd.DataFrame,
    labels: Mapping[str, Any],
    options: PrepareOptions,
) -> str:
    """SHA-256 over the settings and, in order, every row's id, original bytes, labels, site and part."""
    settings: dict[str, Any] = {"classes": source.classes, "pixels": asdict(pixels), "quality": quality}
    if labels.get("corrections"):
        settings["corrections"] = labels["corrections"]
    if options.sequence_weights:
        settings["weights"] = images["weight"].tolist()
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    own = LABELS if source.task == "multilabel" else "label"
    for row in images[["id", "sha256", own, "site", "part"]].itertuples(index=False):
        digest.update(json.dumps([str(value) for value in row]).encode())
    return digest.hexdigest()


def _replace(output: Path, new: Path) -> None:
    """Put the finished entries in place of an earlier set's; nothing else in `output` is touched."""
    for name in (*PARTS, TRANSFORM_FOLDER):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in (SUBMISSION_FORMAT, DIVISION):
        (output / name).unlink(missing_ok=True)
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
