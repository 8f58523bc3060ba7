"""Options as launchers take and send them on: KEY=VALUE words, and those of prepare.py and collect.py.

Options that name a file or folder are one table, made of `PrepareOptions` and, for pipelines, of
`FormatOptions`. What such an option names is an input of the job where the platform copies it: in S3 for jobs
on AWS, on this machine for jobs here. What lies in S3 a job here reads by itself, as it does the raw images.
"""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic.fields import FieldInfo

from trapline.errors import UsageError, refuse_any
from trapline.format_options import FormatOptions
from trapline.job_options import CollectOptions, PrepareOptions
from trapline.launching.local.user_files import printable
from trapline.option_values import NEW_DIVISION
from trapline.options import Options, is_list, make_options, places, takes
from trapline.s3 import Place, as_file, as_folder, is_s3, place_of

LABEL_NAMES, FOLLOW_LINKS = "label-names", "follow-links"


@dataclass(frozen=True)
class Script:
    """An entry point whose options launchers take and send on.

    flag: what takes them, as KEY=VALUE. places: what stands for those that the launcher decides.
    """

    name: str
    flag: str
    model: type[Options]
    places: Mapping[str, str]

    @cached_property
    def lists(self) -> frozenset[str]:
        """Options of several words, which the flag takes as one text, quoted as for a shell."""
        fields = self.model.model_fields.items()
        return frozenset(name.replace("_", "-") for name, info in fields if is_list(info))

    def parts(self, name: str, value: str) -> list[str]:
        """The words of an option's value. Raises ValueError for quotes that do not end."""
        return shlex.split(value) if name in self.lists else [value]


PREPARE = Script("prepare", "--prepare", PrepareOptions, {"input": "raw", "output": "prepared"})
COLLECT = Script(
    "collect",
    "--collect",
    CollectOptions,
    {"prepared": "set", "predictions": "answers", "evaluation": "evaluation", "output": "results"},
)
FLAG = PREPARE.flag
# An input that has another name than its option, as the pipelines have it that lie in accounts.
INPUT_NAMES = {"site-csv": "sites"}


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


def options_as_words(options: Mapping[str, str], script: Script = PREPARE) -> list[str]:
    """Options of a script as a command line, in their order; one of several words comes as often."""
    return [
        word
        for name, value in options.items()
        for part in script.parts(name, value)
        for word in as_words(name, part)
    ]


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


# --- those of prepare.py, and of collect.py -----------------------------------------------------------------


def own_prepare_options(options: Mapping[str, object]) -> dict[str, str]:
    """The options that an experiment has of its own, as --prepare would give them."""
    return {
        name.replace("_", "-"): shlex.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in options.items()
    }


def read_script_options(texts: Sequence[str], script: Script = PREPARE) -> dict[str, str]:
    """The options of `--prepare KEY=VALUE` texts, or another script's, whose keys may have _ for -.

    Raises UsageError for a key that comes twice, for a value that no command line can hand over, for quotes
    that do not end, and for a folder in S3 in the place of a file.
    """
    split = (text.partition("=") for text in texts)
    flag = script.flag
    options = read_pairs(flag, [name.replace("_", "-") + equals + value for name, equals, value in split])
    for name, value in options.items():
        refuse_any(
            [
                (
                    not _read_parts(name, value, script),
                    f"{flag} {name}: is empty; give it a value, or leave it out",
                ),
                (
                    value == "--",
                    f"{flag} {name}={value}: ends the options of a command line; give another value",
                ),
            ]
        )
    for option, value in _given_files(options, script):
        if is_s3(value):
            option.place(value)
    return options


def _read_parts(name: str, value: str, script: Script) -> list[str]:
    """The words of an option's value. Raises UsageError for quotes that do not end."""
    try:
        return list(filter(None, script.parts(name, value)))
    except ValueError as error:
        raise UsageError(
            f"{script.flag} {name}={value}: cannot be read as a shell reads words ({error}); close the "
            "quotes, as in 'path=file name'"
        ) from None


def check_prepare_options(options: Mapping[str, str], decided: Mapping[str, str]) -> PrepareOptions:
    """What prepare.py makes of the options. Raises UsageError for one that it does not know or would refuse.

    `decided`: options that are not the user's to give, and what to say of them.
    """
    made = _checked(options, decided, PREPARE)
    assert isinstance(made, PrepareOptions)
    return made


def check_collect_options(options: Mapping[str, str]) -> None:
    """Raise UsageError for an option that collect.py does not know, would refuse, or gets of the pipeline."""
    own = {name.replace("_", "-") for name in (*FormatOptions.model_fields, "review_below")}
    others = {name.replace("_", "-") for name in CollectOptions.model_fields} - own
    _checked(options, dict.fromkeys(sorted(others), "the pipeline decides it"), COLLECT)


def _checked(options: Mapping[str, str], decided: Mapping[str, str], script: Script) -> Options:
    refuse_any((name in options, f"{script.flag} {name}: {said}") for name, said in decided.items())
    return make_options(
        script.model,
        dict(script.places)
        | {
            name.replace("-", "_"): script.parts(name, value) if name in script.lists else value
            for name, value in options.items()
        },
        lambda name: f"{script.flag} {name.replace('_', '-')}",
        listed=f"entry_points/{script.name}.py --help lists them",
    )


def prepare_record(options: Mapping[str, str]) -> dict[str, Any]:
    """Every option of prepare.py that the user could have given, for the record of a run."""
    return {
        name: value
        for name, value in check_prepare_options(options, {}).record().items()
        if name not in PREPARE.places
    }


def follows_links(options: Mapping[str, str]) -> bool:
    """Whether prepare.py is to read what links outside of the data lead to."""
    return options.get(FOLLOW_LINKS, "").lower() == "true"


# --- those of them that name a file or folder ---------------------------------------------------------------


@dataclass(frozen=True)
class FileOption:
    """An option of a script that names a file, a folder, or either; an input of its job.

    name: as on a command line. about: what it is, for messages.
    """

    name: str
    about: str
    kind: Literal["file", "folder", "folder or file"]
    script: Script = PREPARE

    @property
    def flag(self) -> str:
        """The option as it is typed before its value."""
        return f"{self.script.flag} {self.name}"

    @property
    def input(self) -> str:
        """The name of the job's input, and of the folder in which the job finds it."""
        return INPUT_NAMES.get(self.name, self.name)

    @property
    def parameter(self) -> str:
        """The name of the pipeline's parameter."""
        return self.name.title().replace("-", "")

    def place(self, uri: str, flag: str | None = None) -> Place:
        """The place in S3 that is meant. Raises UsageError, naming the `flag`, for what cannot be it."""
        if self.kind == "file":
            return as_file(uri, flag or self.flag)
        return place_of(as_folder(uri) if self.kind == "folder" else uri)

    def file_name(self, value: str) -> str:
        """The name of the file in the job's input; empty where the input is the folder that is named."""
        if is_s3(value):
            place = self.place(value)
            return place.name if place.kind == "object" else ""
        return "" if self.kind == "folder" or Path(value).is_dir() else Path(value).name

    def is_word(self, value: str) -> bool:
        """Whether the value is a word that prepare.py knows, and names nothing."""
        return self.name == "division" and value == NEW_DIVISION

    def is_in_data(self, value: str) -> bool:
        """Whether the option names a file of the raw images, which prepare.py looks for."""
        return self.name == LABEL_NAMES and not is_s3(value) and not Path(value).is_file()

    def fault(self, value: str, data: Path | None) -> str | None:
        """What is wrong with what lies on this machine, if anything. `data`: as of `check_files`."""
        path = Path(value)
        if self.is_in_data(value):
            found = data is None or (data / value).is_file()
            return None if found else f"no such file, here or in {data}"
        if not path.exists():
            return f"no such {self.kind}"
        there = "folder" if path.is_dir() else "file"
        return None if there in self.kind else f"a {there}; give a {self.kind}"


def _file_options() -> Iterator[FileOption]:
    """Those that prepare.py reads for itself, but the raw images."""
    for name, place in places(PrepareOptions).items():
        if place == "own" and name not in PREPARE.places:
            info = PrepareOptions.model_fields[name]
            is_file, is_folder = "FILE" in takes(info), "DIR" in takes(info)
            yield FileOption(
                name.replace("_", "-"),
                _about(info),
                "file" if not is_folder else "folder or file" if is_file else "folder",
            )


def _about(info: FieldInfo) -> str:
    return re.sub(r" \(default: .*\)$", "", info.description or "")


def _format_files() -> Iterator[FileOption]:
    """Those of the formats of answers."""
    for name in places(FormatOptions):
        yield FileOption(name, _about(FormatOptions.model_fields[name]), "file", COLLECT)


FILE_OPTIONS: Mapping[str, FileOption] = MappingProxyType({option.name: option for option in _file_options()})
COLLECT_FILES: Mapping[str, FileOption] = MappingProxyType(
    {option.name: option for option in _format_files()}
)
PIPELINE_FILES: Mapping[str, FileOption] = MappingProxyType({**FILE_OPTIONS, **COLLECT_FILES})


def _given_files(options: Mapping[str, str], script: Script = PREPARE) -> Iterator[tuple[FileOption, str]]:
    return (
        (option, options[name])
        for name, option in PIPELINE_FILES.items()
        if option.script is script and name in options and not option.is_word(options[name])
    )


def job_files(options: Mapping[str, str], *, aws: bool, script: Script = PREPARE) -> dict[str, str]:
    """The options whose file or folder is an input of the job, by name, in the table's order.

    `aws`: whether the job runs there; URIs are then as it is given them. The others are words of its command
    line alone.
    """
    return {
        option.name: option.place(value).uri if aws else value
        for option, value in _given_files(options, script)
        if is_s3(value) is aws and not option.is_in_data(value)
    }


def reads_s3(options: Mapping[str, str]) -> bool:
    """Whether an option names something in S3, which may change there unseen."""
    return any(is_s3(value) for _, value in _given_files(options))


def refuse_for_s3(options: Mapping[str, str], script: Script = PREPARE) -> None:
    """Raise UsageError for what means nothing where the data lie in S3, as they do for jobs on AWS."""
    refuse_any(
        [
            (
                follows_links(options),
                f"{FLAG} {FOLLOW_LINKS}=true: jobs on AWS read S3, where there are no links; leave it out, "
                "and copy what the links lead to (aws s3 cp --recursive follows them)",
            ),
            *(
                (
                    not is_s3(value) and (option.name != LABEL_NAMES or Path(value).is_absolute()),
                    f"{option.flag}={value}: must be an s3:// URI "
                    f"{'or a file of the data ' if option.name == LABEL_NAMES else ''}for a job on AWS",
                )
                for option, value in _given_files(options, script)
            ),
        ]
    )


def check_files(options: Mapping[str, str], data: Path | None, script: Script = PREPARE) -> None:
    """Raise UsageError where what an option names on this machine is not there, or is of the wrong kind.

    `data`: the folder of the raw images, whose files `label-names` may name, too; None where that cannot be
    looked into: an archive, S3, the demo.
    """
    for option, value in _given_files(options, script):
        if not is_s3(value) and (fault := option.fault(value, data)):
            raise UsageError(f"{option.flag}={value}: {fault}")
