"""Where the images lie that a table or a JSON names: as it is written, elsewhere below a folder, or in S3.

People move images after their tables were written: then all paths of a table have folders before them that
are gone. Nothing is fetched from the web.
"""

import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trapline.data.quarantine import MISSING, OUTSIDE
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key
from trapline.preparation.input_folder import ADDRESS, UNUSUAL, InputFolder, NotInside
from trapline.s3 import fetch, is_s3
from trapline.storage import json_digest

SAMPLE = 1000  # names by which the folders to leave out are found
MAX_LEFT_OUT = 12  # folders before a path that may be gone
FETCHED_AT_ONCE = 16


class Found(NamedTuple):
    """Where a named image lies: the `path` to open, what its paths have in common, and why not to open it."""

    path: str
    file: str
    problem: tuple[str, str] | None = None


@dataclass
class Media:
    """Finds the images that tables name, below `folder`.

    `origin`: the s3:// URI that the folder is a copy of; addresses below it are paths in the folder.
    `copies`: gets images of other places in S3, None where none is fetched. `notes` say what was done to find
    them. `named`: the files of the folder that were found, relative.
    """

    folder: InputFolder
    origin: str | None = None
    copies: Path | None = None
    fetch_one: Callable[[str, Path], Path] = fetch
    notes: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    _by_name: dict[str, str | None] | None = None
    _regular: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def find(self, names: Sequence[str], table: str) -> dict[str, Found]:
        """Each different one of `names`, as `table` writes them, with where it lies.

        As it is written; where that finds none of them, without the folders before them, as many from all,
        which is said. An address, and a name without folders, by the file's own name, which must be that of
        one file alone.
        """
        different = list(dict.fromkeys(names))
        inside = {name: self._own(name) for name in different if is_s3(name)}
        fetched = [name for name, own in inside.items() if own is None]
        plain = [name for name in different if not ADDRESS.match(name)]
        paths = {**{name: name for name in plain}, **{name: own for name, own in inside.items() if own}}
        left_out = self._folders_left_out(plain, table)
        found = {name: self._below(name, _without(path, left_out)) for name, path in paths.items()}
        self._regular.clear()
        found |= self._by_names_alone([name for name in plain if found[name].problem])
        for name in different:
            if name not in found and not is_s3(name):
                found[name] = self._address(name)
        return found | self._from_s3(fetched)

    def _own(self, uri: str) -> str | None:
        """The path in the folder of what lies below the origin."""
        start = f"{(self.origin or '').rstrip('/')}/"
        return uri.removeprefix(start) if self.origin and uri.startswith(start) else None

    def _folders_left_out(self, names: Sequence[str], table: str) -> int:
        """How many folders before the paths are not there: those without which most of a sample is found."""
        sample = list(names[:: max(1, len(names) // SAMPLE)])[:SAMPLE]
        if not sample or any(self._is_there(name) for name in sample):
            return 0
        deepest = min(MAX_LEFT_OUT, max(len(_parts(name)) for name in sample) - 1)
        counts = {
            number: sum(self._is_there(name) for name in shorter)
            for number in range(1, deepest + 1)
            # Two files that would become one are not what is meant.
            if len(shorter := {_without(name, number) for name in sample}) == len(sample)
        }
        best = max(counts, key=lambda number: (counts[number], -number), default=0)
        if not best or not counts[best]:
            return 0
        self.notes.append(
            f"{table}: its images were found without the first {best} of the folders that it names, as "
            f"{_without(sample[0], best)!r} for {sample[0]!r}"
        )
        return best

    def _is_there(self, name: str) -> bool:
        try:
            self.folder.find(name)
        except NotInside:
            return False
        return True

    def _below(self, name: str, path: str) -> Found:
        if place := self._as_written(path):
            return place
        try:
            return self._in_folder(self.folder.find(path))
        except NotInside as problem:
            # What leads out cannot be opened by this path, whoever tries.
            shown = path if problem.reason == MISSING and ".." not in path else f"\0{path}"
            return Found(
                self.folder.full(shown), f"?{key(name, Kind.PATH)}", (problem.reason, problem.detail)
            )

    def _as_written(self, path: str) -> Found | None:
        """A regular file that lies at `path`, as most do; a look into each folder spares one at each file."""
        folder, _, name = path.rpartition("/")
        if folder not in self._regular:
            self._regular[folder] = self.folder.regular_files(folder)
        place, names = self._regular[folder]
        if name not in names or UNUSUAL.search(name):
            return None
        self.named.add(path)
        full, file = self.folder.full(path), f"{place}/{name}"
        return Found(full, full if file == full else file)

    def _by_names_alone(self, lost: Sequence[str]) -> dict[str, Found]:
        """Where those of `lost` without folders lie: in the one file of that name, which no path names."""
        by_path = set(self.named)
        alone = [name for name in lost if len(_parts(name)) == 1]
        files = {name: file for name in alone if (file := self._of_name(name)) and file not in by_path}
        return {name: self._in_folder(file) for name, file in files.items()}

    def _in_folder(self, relative: str) -> Found:
        self.named.add(relative)
        path, file = self.folder.full(relative), self.folder.identity(relative)
        return Found(path, path if file == path else file)

    def _of_name(self, name: str) -> str | None:
        """The one file below the folder that has this name, None where none or several have it."""
        if self._by_name is None:
            self._by_name = {}
            for file in self.folder.files():
                short = key(file.rpartition("/")[2], Kind.PATH)
                self._by_name[short] = None if short in self._by_name else file
        relative = self._by_name.get(key(name, Kind.PATH))
        return None if relative is None or self.folder.full(relative) in self.folder.outside else relative

    def _address(self, name: str) -> Found:
        """What an address on the web means: the one file of its name."""
        own = PurePosixPath(_path_of_address(name)).name
        if own and (relative := self._of_name(own)):
            return self._in_folder(relative)
        way_out = prepare_option("media", "DIR")
        detail = f"an address, and nothing is fetched from the web; download it, and give {way_out}"
        return Found(self.folder.full(f"\0{name}"), f"?{name}", (OUTSIDE, detail))

    def _from_s3(self, uris: Sequence[str]) -> dict[str, Found]:
        """Copies of objects, several at a time; one that gives no bytes is a problem of its own."""
        if not uris:
            return {}
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
            return dict(zip(uris, threads.map(self._copied, uris), strict=True))

    def _copied(self, uri: str) -> Found:
        if self.copies is None:
            return Found(f"\0{uri}", f"?{uri}", (OUTSIDE, "lies in S3, which is not read here"))
        digest = json_digest(uri)
        target = self.copies / digest[:2] / (digest + PurePosixPath(uri).suffix.lower())
        try:
            return Found(str(self.fetch_one(uri, target)), uri)
        except (TraplineError, UsageError) as error:
            return Found(str(target), uri, (MISSING, str(error)))


def _path_of_address(name: str) -> str:
    """The path in an address; empty where it is none that can be read."""
    try:
        return urllib.parse.unquote(urllib.parse.urlsplit(name).path)
    except ValueError:  # such as http://[x/1.jpg
        return ""


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _without(name: str, folders: int) -> str:
    """A path without its first `folders` folders, a drive's letter and a slash at its beginning among
    them.
    """
    return "/".join(_parts(name)[folders:]) if folders else name
