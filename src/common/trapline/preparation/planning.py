"""What preparation is going to do, as tables and options say before any image is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.data.prepared import fetch_prepared
from trapline.errors import UsageError
from trapline.job_contract import prepare_option
from trapline.job_options import PrepareOptions
from trapline.option_values import NEW_DIVISION
from trapline.preparation.completion import last_division
from trapline.preparation.division import require_classes, split_policy
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.known_division import Division, read_division
from trapline.preparation.labelling import labelled
from trapline.preparation.listing import Source, limited, renamed
from trapline.preparation.splits import SplitPolicy
from trapline.s3 import fetch, is_s3


@dataclass(frozen=True)
class Plan:
    """What is packed and how it is divided, as tables and options say before any image is opened.

    labels: what became of each label, for the summary. known: the division that is kept. inputs: rows, those
    in quarantine included.
    """

    source: Source
    labels: Mapping[str, Any]
    known: Division | None
    policy: SplitPolicy
    inputs: int
    notes: Sequence[str]


def planned(listing: Source, folder: InputFolder, options: PrepareOptions, work: Path) -> Plan:
    """The plan for the raw images that `listing` names, with labels and division as options ask.

    Raises TraplineError for an option that the data cannot meet, and for a file that it names.
    """
    files = _given_files(options, work)
    known = _known_division(options, files)
    source, labels = labelled(listing, options, files)
    require_classes(source.classes, source.of_machines)
    source, left_out = _limited(_renamed(source, folder, options, work), options)
    policy = split_policy(
        source,
        options.split or ("site" if options.division and known and not options.group_by else None),
        options.shares,
        options.val_share,
        options.seed,
        options.group_by,
    )
    inputs = len(source.images) + len(source.quarantined)
    return Plan(source, labels, known, policy, inputs, [*source.notes, *left_out])


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
        return last_division(Path(options.completed), options.group_by or "site", source_name(options))
    if "division" not in files:
        return None
    shown = prepare_option("division", str(options.division))
    return read_division(files["division"], options.group_by or "site", shown)


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


def source_name(options: PrepareOptions) -> str:
    return options.source_name or ", ".join(options.input)
