"""From raw images to the prepared data set: list, decode and pack, split, write, sum up."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.console import note, progress, table
from trapline.data.groups import distinct_sequences
from trapline.data.prepared import (
    DESCRIPTION,
    DIVISION,
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
    UNKNOWN_GROUP,
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
from trapline.preparation.bursts import sequence_scope, sequence_weights, with_sequences
from trapline.preparation.clocks import with_times
from trapline.preparation.division import (
    KEPT,
    counts_of_classes,
    has_unseen_sites,
    shares_of,
)
from trapline.preparation.kept_division import Divided, divide_kept
from trapline.preparation.known_division import write_division
from trapline.preparation.listing import (
    GIVEN,
    GROUP,
    LABELS,
    TIME,
    UNLABELED,
    Source,
    named_rows,
)
from trapline.preparation.packing import Quality, Unusable, pack_files, write_packed, write_parts
from trapline.preparation.planning import Plan, planned, source_name
from trapline.preparation.raw_input import DEMO, raw_input
from trapline.preparation.splits import HONEST_SHARES, SplitPolicy
from trapline.preparation.summary import SUMMARY, summarise, with_leakage
from trapline.storage import work_folder, write_json

JPEG_QUALITY = 90
NOTES_SHOWN = 10
DAY_LENGTH = len("2019-05-31")
CLASSES_SHOWN = 40
FACTS = ["row", "width", "height", "sha256", "likeness", "exif_time", "camera"]  # of each packed image
WORK = ".preparing"  # in the output: what is unfinished


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
    with work_folder(output / WORK) as work, raw_input(options, work) as (listing, folder, is_exact):
        plan = planned(listing, folder, options, work)
        quality = _quality(options, is_exact)
        usable, quarantined = _pack(plan.source, pixels, quality, plan.policy, options.processes, work)
        usable, of_times = with_times(usable, datetime.now())
        usable, of_sequences = with_sequences(usable, options.sequence_gap)
        usable, ungrouped = _with_groups(usable, plan.policy)
        quarantined += ungrouped
        _check_quarantine(output, quarantined, plan, options)
        divided = divide_kept(
            usable, plan.source.classes, plan.policy, plan.known, options.folds, options.fold
        )
        quarantined += divided.quarantined
        _check_quarantine(output, quarantined, plan, options)
        images = _weighted(divided.images, options.sequence_weights)
        notes = [*plan.notes, *of_times, *of_sequences, *divided.notes]
        new = work / "new"
        new.mkdir()
        if divided.division:
            write_division(new / DIVISION, divided.division)
        parts = write_parts(work / "packed.arrow", images, new, PARTS)
        unlabeled = plan.source.images[plan.source.images["label"] == UNLABELED]
        write_transform_input(new / TRANSFORM_FOLDER, unlabeled, quarantined)
        description = _describe(options, plan, pixels, quality, divided, images, parts)
        summary = {
            **summarise(description, images, quarantined, plan.inputs, notes, work / "packed.arrow"),
            "labels": plan.labels,
            "merged": {kind: dict(found) for kind, found in plan.source.merged.items()},
            "options": options.result_settings(),
        }
        description = with_leakage(description, summary)
        write_json(new / SUMMARY, summary)
        if plan.source.submission_format:
            shutil.copyfile(plan.source.submission_format, new / SUBMISSION_FORMAT)
        _replace(output, new)
        write_json(output / DESCRIPTION, description.model_dump(mode="json"))
    _report(output, description, quarantined, plan.inputs, notes)


def _quality(options: PrepareOptions, is_exact: bool) -> Quality:
    """The JPEG quality of packed images; none, without loss, where images are a few pixels."""
    if options.quality == "auto":
        return None if is_exact else JPEG_QUALITY
    return None if options.quality == "lossless" else options.quality


def _check_quarantine(
    output: Path, quarantined: Sequence[Quarantined], plan: Plan, options: PrepareOptions
) -> None:
    """Write quarantine.csv. Raises TraplineError where it holds too large a share of the inputs."""
    path = write_quarantine(output, quarantined)
    check_share(quarantined, plan.inputs, options.max_quarantine, path)


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


def _with_groups(images: pd.DataFrame, policy: SplitPolicy) -> tuple[pd.DataFrame, list[Quarantined]]:
    """The images with the group that the split keeps together, in `kept`; and those labelled without one."""
    by = policy.group_by
    if by == "site":
        return images.assign(**{KEPT: images["site"]}), []
    if by == "sequence":  # an image in none is one of its own
        alone = "image " + images["id"].astype(str)
        names = distinct_sequences(images["sequence"], images["site"], sequence_scope(images))
        named = pd.Series(names, images.index, dtype=object)
        return images.assign(**{KEPT: named.where(named.notna(), alone)}), []
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
    return images.assign(weight=sequence_weights(images) if by_sequence else 1.0)


def _describe(
    options: PrepareOptions,
    plan: Plan,
    pixels: PixelSettings,
    quality: Quality,
    divided: Divided,
    images: pd.DataFrame,
    parts: dict[str, PartFiles],
) -> DatasetDescription:
    source, policy = plan.source, plan.policy
    return DatasetDescription(
        format_version=1,
        task=source.task,
        classes=source.classes,
        class_codes=source.class_codes,
        source=source_name(options),
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
        fingerprint=_fingerprint(pixels, quality, plan, images, options),
        versions=versions("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg"),
    )


def _fingerprint(
    pixels: PixelSettings,
    quality: Quality,
    plan: Plan,
    images: pd.DataFrame,
    options: PrepareOptions,
) -> str:
    """SHA-256 over the settings and, in order, every row's id, original bytes, labels, site and part."""
    settings: dict[str, Any] = {"classes": plan.source.classes, "pixels": asdict(pixels), "quality": quality}
    if plan.labels.get("corrections"):
        settings["corrections"] = plan.labels["corrections"]
    if options.sequence_weights:
        settings["weights"] = images["weight"].tolist()
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    own = LABELS if plan.source.task == "multilabel" else "label"
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
