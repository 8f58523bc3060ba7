"""Options of entry_points/prepare.py as launchers take them: read, checked, sent on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trapline.errors import UsageError
from trapline.job_options import PrepareOptions
from trapline.launching.pairs import read_pairs
from trapline.options import make_options
from trapline.s3 import is_s3
from trapline.s3_places import as_file

FLAG = "--prepare"
SITE_CSV, LABEL_NAMES, FOLLOW_LINKS = "site-csv", "label-names", "follow-links"
END_OF_OPTIONS = "--"
LISTED = "entry_points/prepare.py --help lists them"
PLACES = {"input": "raw", "output": "prepared"}  # stand for those that the launcher decides


def own_prepare_options(options: Mapping[str, object]) -> dict[str, str]:
    """The options that an experiment has of its own, as --prepare would give them."""
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def read_prepare_options(texts: Sequence[str]) -> dict[str, str]:
    """The options of `--prepare KEY=VALUE` texts, whose keys may have _ for -.

    Raises UsageError for a key that comes twice, for a value that no command line can hand over, and for a
    folder in S3 in the place of a file.
    """
    options = read_pairs(FLAG, [_with_hyphens(text) for text in texts])
    for name, value in options.items():
        if not value:
            raise UsageError(f"{FLAG} {name}: is empty; give it a value, or leave it out")
        if value == END_OF_OPTIONS:
            raise UsageError(f"{FLAG} {name}={value}: ends the options of a command line; give another value")
        if name in (SITE_CSV, LABEL_NAMES) and is_s3(value):
            as_file(value, f"{FLAG} {name}")
    return options


def _with_hyphens(text: str) -> str:
    name, equals, value = text.partition("=")
    return name.replace("_", "-") + equals + value


def check_prepare_options(options: Mapping[str, str], decided: Mapping[str, str]) -> PrepareOptions:
    """What prepare.py makes of the options. Raises UsageError for one that it does not know or would refuse.

    `decided`: options that are not the user's to give, and what to say of them.
    """
    for name, said in decided.items():
        if name in options:
            raise UsageError(f"{FLAG} {name}: {said}")
    given = {name.replace("-", "_"): value for name, value in options.items()}
    return make_options(PrepareOptions, PLACES | given, _as_typed, listed=LISTED)


def prepare_record(options: Mapping[str, str]) -> dict[str, Any]:
    """Every option of prepare.py that the user could have given, for the record of a run."""
    record = check_prepare_options(options, {}).record()
    return {name: value for name, value in record.items() if name not in PLACES}


def _as_typed(name: str) -> str:
    return f"{FLAG} {name.replace('_', '-')}"


def follows_links(options: Mapping[str, str]) -> bool:
    """Whether prepare.py is to read what links outside of the data lead to."""
    return options.get(FOLLOW_LINKS, "").lower() == "true"


def refuse_for_s3(options: Mapping[str, str]) -> None:
    """Raise UsageError for what means nothing where the data lie in S3, as they do for jobs on AWS."""
    if follows_links(options):
        raise UsageError(
            f"{FLAG} {FOLLOW_LINKS}=true: jobs on AWS read S3, where there are no links; leave it out, "
            "and copy what the links lead to (aws s3 cp --recursive follows them)"
        )
    names = options.get(LABEL_NAMES)
    if names and not is_s3(names) and Path(names).is_absolute():
        raise UsageError(
            f"{FLAG} {LABEL_NAMES}={names}: must be an s3:// URI or a file of the data for a job on AWS"
        )


def label_names_here(options: Mapping[str, str]) -> Path | None:
    """The file of this machine that names the labels; None where the data or S3 hold it, or there is none."""
    given = options.get(LABEL_NAMES)
    return Path(given) if given and not is_s3(given) and Path(given).is_file() else None


def check_files(options: Mapping[str, str], data: Path | None) -> None:
    """Raise UsageError where a file of this machine that an option names does not exist.

    `data`: the folder of the raw images, whose files `label-names` may name, too; None where that cannot be
    looked into: an archive, S3, the demo.
    """
    sites, names = options.get(SITE_CSV), options.get(LABEL_NAMES)
    if sites and not Path(sites).is_file():
        raise UsageError(f"{FLAG} {SITE_CSV}={sites}: no such file")
    if not names or is_s3(names) or label_names_here(options) is not None or data is None:
        return
    if not (data / names).is_file():
        raise UsageError(f"{FLAG} {LABEL_NAMES}={names}: no such file, here or in {data}")
