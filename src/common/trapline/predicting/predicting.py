"""Answers of a model for whatever images a person names, written in the formats that were asked for.

list       the images, and where and when a table says that they were taken (`predicting.inputs`)
predict    one streaming pass, kept in shards (`predicting.streaming`)
assemble   times, sites and sequences as in preparation; pooled over sequences where the model says it helps
write      the formats, events and effort (`trapline.formats`)

Everything of a run lies in the output folder; the same command goes on where an earlier one was ended, and
writes other formats without predicting again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trapline.augmentation import AUTO_VIEWS, check_views
from trapline.config import known_views
from trapline.console import note
from trapline.errors import UsageError
from trapline.formats.predictions import PredictingModel
from trapline.formats.settings import FormatSettings
from trapline.formats.writing import format_settings, remove_unfinished
from trapline.inference.predictor import load_predictor
from trapline.job_contract import ensure_writable
from trapline.job_options import PrepareOptions
from trapline.models.artefact import DESCRIPTION, WEIGHTS, ModelDescription, opened_artefact, read_description
from trapline.predicting.assembly import Predicted, assembled
from trapline.predicting.inputs import Listing, listed
from trapline.predicting.options import PredictOptions
from trapline.predicting.shards import Shards, mapped_array
from trapline.predicting.streaming import SHARD, Pass, planned, run_pass
from trapline.storage import file_digest, held, is_archive, json_digest, read_json, work_folder, write_json
from trapline.training.speed import Speed, read_speed
from trapline.workers import available_cores

STATE = ".predicting"
RUN, SPEED, COPIES = "run.json", "speed.json", "copies"


@contextlib.contextmanager
def predicted(options: PredictOptions, model: Path, name: str) -> Iterator[tuple[Predicted, FormatSettings]]:
    """The answers of the artefact `model` (as `opened_artefact` takes it), called `name`.

    They are good for the length of the block: their probabilities are mapped from a file. Raises UsageError
    for options that cannot be, TraplineError for an input or a model that cannot be read.
    """
    output = Path(options.output)
    ensure_writable(output)
    state = output / STATE
    waiting = f"waiting for another process that predicts to {output}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(state, "lock", waiting=waiting))
        remove_unfinished(output)
        folder = stack.enter_context(opened_artefact(model))
        description = read_description(folder)
        settings = format_settings(options, description.classes, description.task)
        if options.sort and options.sort_by == "link" and _are_copies(options):
            raise UsageError(
                "--sort-by link: the input is unpacked or fetched for this run, and goes when it ends; take "
                "--sort-by copy"
            )
        reading = PrepareOptions.model_validate(options.input_fields())
        listing = stack.enter_context(listed(reading, stack.enter_context(work_folder(state / COPIES))))
        for said in listing.notes:
            note(said)
        views = _views(options, description)
        identity = _identity(folder, options, views)
        shards = Shards(state, len(description.classes))
        created = _begun(state, identity, shards)
        todo = planned(listing.rows, json_digest(identity), shards, _are_copies(options))
        _predict(options, folder, views, listing, todo, shards, state)
        shards.keep_only(todo.shards)
        shape = (len(listing.rows), len(description.classes))
        array = stack.enter_context(mapped_array(state / "probabilities", shape))
        model_facts = PredictingModel(name, identity["weights"], _architecture(description))
        yield (
            assembled(listing, shards, todo.shards, description, options, array, model_facts, created),
            settings,
        )


def _architecture(description: ModelDescription) -> str:
    members = [member.architecture for member in description.members]
    return "+".join(members) if members else description.architecture


def _views(options: PredictOptions, description: ModelDescription) -> tuple[str, ...]:
    if options.views is None or options.views == AUTO_VIEWS:
        return check_views(description.views)
    return check_views(known_views(options.views))


def _identity(folder: Path, options: PredictOptions, views: tuple[str, ...]) -> dict[str, Any]:
    """What the numbers of an image depend on, beside its bytes; the model's choices after them not."""
    return {
        "weights": file_digest(folder / WEIGHTS),
        "description": file_digest(folder / DESCRIPTION),
        "views": list(views),
        "precision": options.precision,
    }


def _begun(state: Path, identity: Mapping[str, Any], shards: Shards) -> datetime:
    """When this run began: when an earlier start of it has, by the same model, in the same way, else now.

    What was kept of another run goes.
    """
    path = state / RUN
    if path.is_file():
        record = read_json(path)
        if isinstance(record, dict) and record.get("identity") == identity:
            return datetime.fromisoformat(record["created"])
        note("the folder holds answers of another model, or made in another way: all is predicted anew")
    shards.clear()
    (state / SPEED).unlink(missing_ok=True)
    created = datetime.now(UTC).replace(microsecond=0)
    write_json(path, {"identity": identity, "created": created.isoformat()})
    return created


def _are_copies(options: PredictOptions) -> bool:
    """Whether files of the input are made anew each time: unpacked from archives, or fetched."""
    places = (*options.input, *([options.media] if options.media else []))
    return not all(Path(place).exists() for place in places) or any(map(is_archive, places))


def _predict(
    options: PredictOptions,
    folder: Path,
    views: tuple[str, ...],
    listing: Listing,
    todo: Pass,
    shards: Shards,
    state: Path,
) -> None:
    """The pass over what is missing; the precision that an earlier start of the run chose is taken again."""
    there = todo.shards - len(todo.missing)
    if there:
        done = min(there * SHARD, len(listing.rows))
        print(f"{done} of {len(listing.rows)} images have been predicted already", flush=True)
    if not todo.missing:
        return
    kept: Speed | None = read_speed(state / SPEED)
    images = min(len(todo.missing) * SHARD, len(listing.rows))
    predictor = load_predictor(folder, precision=options.precision, views=views, images=images, speed=kept)
    if kept is None and predictor.speed is not None:
        write_json(state / SPEED, asdict(predictor.speed))
    run_pass(listing.rows, todo, predictor, shards, options.processes or available_cores())
