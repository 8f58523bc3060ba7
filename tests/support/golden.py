"""Requests as files: one whole, the others as what they have otherwise than it.

`fields` writes JSON content as one value a place, {"A.B[0].C": value}; what a reviewer sees of a case is its
command line and its own fields, of each request that the whole case has, too. null: it lacks that field.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

WRITING = bool(os.environ.get("TRAPLINE_WRITE_GOLDEN"))
STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def fields(content, place=""):
    """{place: value} of all that is neither an object nor a list, or is empty."""
    if isinstance(content, dict) and content:
        parts = [(f"{place}.{key}" if place else key, item) for key, item in content.items()]
    elif isinstance(content, list) and content:
        parts = [(f"{place}[{number}]", item) for number, item in enumerate(content)]
    else:
        return {place: content}
    return {name: value for part, item in parts for name, value in fields(item, part).items()}


def nested(values):
    """The reverse of `fields`."""
    whole = {}
    for place, value in values.items():
        *above, last = [int(number) if number else key for number, key in STEP.findall(place)]
        holder = whole
        for part in above:
            holder = holder.setdefault(part, {})
        holder[last] = value
    return _with_lists(whole)


def _with_lists(content):
    if not isinstance(content, dict) or not content:
        return content
    items = {key: _with_lists(item) for key, item in content.items()}
    return (
        [items[number] for number in sorted(items)] if all(isinstance(key, int) for key in items) else items
    )


def differences(content, base):
    """What `content` has otherwise than `base`, by place; None: it lacks what `base` has there."""
    own, others = fields(content), fields(base)
    changed = {place: value for place, value in own.items() if others.get(place, KeyError) != value}
    found = {**changed, **{place: None for place in others.keys() - own.keys()}}
    return dict(sorted(found.items()))


def applied(changes, base):
    """The reverse of `differences`."""
    merged = {**fields(base), **changes}
    return nested({place: value for place, value in merged.items() if value is not None})


@dataclass(frozen=True)
class Golden:
    """The files of a folder: `whole`.json, and others.json with the rest."""

    folder: Path
    whole: str

    @property
    def cases(self):
        """The names of all."""
        return [self.whole, *self._others()]

    def read(self, case):
        """{"command": words, "requests": [{operation: body}]} of a case; a KeyError where there is none."""
        first = json.loads((self.folder / f"{self.whole}.json").read_text())
        if case == self.whole:
            return first
        found = self._others()[case]
        bases = dict(next(iter(request.items())) for request in first["requests"])
        requests = [
            {operation: applied(changes, bases[operation])}
            for operation, changes in found["requests"].items()
        ]
        return {"command": shlex.split(found["command"]), "requests": requests}

    def write(self, case, command, requests):
        """Write a case, where TRAPLINE_WRITE_GOLDEN asks for it."""
        if not WRITING:
            return
        if case == self.whole:
            self._dump(self.whole, {"command": command, "requests": requests})
            return
        bases = dict(next(iter(request.items())) for request in self.read(self.whole)["requests"])
        changes = {
            operation: differences(body, bases[operation])
            for request in requests
            for operation, body in request.items()
        }
        case_of = {**self._others(), case: {"command": shlex.join(command), "requests": changes}}
        self._dump("others", dict(sorted(case_of.items())))
        assert self.read(case) == {"command": command, "requests": requests}

    def _others(self):
        return json.loads((self.folder / "others.json").read_text())

    def _dump(self, name, content):
        (self.folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
