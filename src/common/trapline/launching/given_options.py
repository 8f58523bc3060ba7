"""Options as launchers take and send them on: KEY=VALUE words, and those of entry_points/prepare.py."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trapline.errors import refuse_any
from trapline.job_options import PrepareOptions
from trapline.launching.local.user_files import printable
from trapline.options import make_options
from trapline.s3 import as_file, is_s3

FLAG = "--prepare"
SITE_CSV, LABEL_NAMES, FOLLOW_LINKS = "site-csv", "label-names", "follow-links"
PLACES = {"input": "raw", "output": "prepared"}  # stand for those that the launcher decides


def whole(low: int, high: float, meaning: str) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`, which messages call `meaning`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {meaning}")
        return int(text)

    return read


def read_pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary. Raises UsageError for one without `=`, or a key that comes twice."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        refuse_any(
            [
                (not equals or not name, f"{flag} {text}: must be KEY=VALUE"),
                (name in pairs, f"{flag} {name}: given twice"),
            ]
        )
        pairs[name] = value
    return pairs


def require_text(words: Sequence[str]) -> None:
    """Raise UsageError for a word that is no text: no record and no request could hold it."""
    refuse_any(
        (
            printable(word) != word,
            f"{printable(word)}: is not UTF-8; rename what it names, or give a link to it of another name",
        )
        for word in words
    )


def as_words(name: str, value: str) -> list[str]:
    """An option as words of a command line: one word where the value would pass for a flag, else two."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def options_as_words(options: Mapping[str, str]) -> list[str]:
    """Options as a command line, in their order."""
    return [word for name, value in options.items() for word in as_words(name, value)]


def refuse_flags_as_values(values: Mapping[str, object]) -> None:
    """Raise UsageError for a hyperparameter that the training script would take for a flag.

    SageMaker's toolkit writes name and value as two words, whatever the value.
    """
    refuse_any(
        (
            isinstance(value, str) and value.startswith("-"),
            f"hyperparameter {name}: {value} begins with a dash, and the job would take it for a flag; "
            f"write a file as ./{value}",
        )
        for name, value in values.items()
    )


# --- those of prepare.py ------------------------------------------------------------------------------------


def own_prepare_options(options: Mapping[str, object]) -> dict[str, str]:
    """The options that an experiment has of its own, as --prepare would give them."""
    return {name.replace("_", "-"): str(value) for name, value in options.items()}


def read_prepare_options(texts: Sequence[str]) -> dict[str, str]:
    """The options of `--prepare KEY=VALUE` texts, whose keys may have _ for -.

    Raises UsageError for a key that comes twice, for a value that no command line can hand over, and for a
    folder in S3 in the place of a file.
    """
    split = (text.partition("=") for text in texts)
    options = read_pairs(FLAG, [name.replace("_", "-") + equals + value for name, equals, value in split])
    for name, value in options.items():
        refuse_any(
            [
                (not value, f"{FLAG} {name}: is empty; give it a value, or leave it out"),
                (
                    value == "--",
                    f"{FLAG} {name}={value}: ends the options of a command line; give another value",
                ),
            ]
        )
        if name in (SITE_CSV, LABEL_NAMES) and is_s3(value):
            as_file(value, f"{FLAG} {name}")
    return options


def check_prepare_options(options: Mapping[str, str], decided: Mapping[str, str]) -> PrepareOptions:
    """What prepare.py makes of the options. Raises UsageError for one that it does not know or would refuse.

    `decided`: options that are not the user's to give, and what to say of them.
    """
    refuse_any((name in options, f"{FLAG} {name}: {said}") for name, said in decided.items())
    return make_options(
        PrepareOptions,
        PLACES | {name.replace("-", "_"): value for name, value in options.items()},
        lambda name: f"{FLAG} {name.replace('_', '-')}",
        listed="entry_points/prepare.py --help lists them",
    )


def prepare_record(options: Mapping[str, str]) -> dict[str, Any]:
    """Every option of prepare.py that the user could have given, for the record of a run."""
    return {
        name: value
        for name, value in check_prepare_options(options, {}).record().items()
        if name not in PLACES
    }


def follows_links(options: Mapping[str, str]) -> bool:
    """Whether prepare.py is to read what links outside of the data lead to."""
    return options.get(FOLLOW_LINKS, "").lower() == "true"


def refuse_for_s3(options: Mapping[str, str]) -> None:
    """Raise UsageError for what means nothing where the data lie in S3, as they do for jobs on AWS."""
    names = options.get(LABEL_NAMES)
    refuse_any(
        [
            (
                follows_links(options),
                f"{FLAG} {FOLLOW_LINKS}=true: jobs on AWS read S3, where there are no links; leave it out, "
                "and copy what the links lead to (aws s3 cp --recursive follows them)",
            ),
            (
                names and not is_s3(names) and Path(names).is_absolute(),
                f"{FLAG} {LABEL_NAMES}={names}: must be an s3:// URI or a file of the data for a job on AWS",
            ),
        ]
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
    refuse_any(
        [
            (sites and not Path(sites).is_file(), f"{FLAG} {SITE_CSV}={sites}: no such file"),
            (
                names
                and data
                and not (is_s3(names) or label_names_here(options) or (data / names).is_file()),
                f"{FLAG} {LABEL_NAMES}={names}: no such file, here or in {data}",
            ),
        ]
    )
