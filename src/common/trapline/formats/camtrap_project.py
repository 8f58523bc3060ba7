"""What only people know of a project, from project.json, and the descriptor of a Camtrap DP made with it.

project.json has the keys of a Camtrap DP's datapackage.json: `contributors`, `licenses`, `project` and any
other of them. Whatever can be computed is computed where it is not given: the extent in space and time, the
taxa, the level of observations. Nothing else is made up.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from trapline.errors import UsageError
from trapline.formats.camtrap_fields import CAPTURE_METHODS, SOURCE
from trapline.formats.camtrap_times import written_moment
from trapline.formats.deployments import END, START, Deployment
from trapline.formats.taxonomy import Taxon
from trapline.names import shown
from trapline.storage import read_json

DESIGNS = (
    "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic",
)  # fmt: skip
ROLES = ("contact", "principalInvestigator", "rightsHolder", "publisher", "contributor")
LEVELS = ("media", "event")
SCOPES = ("data", "media")
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species", "subspecies")
NAMED_RANKS = ("class", "order", "family", "genus")  # which a taxon of the descriptor may name, of ours
OURS = ("resources", "profile", "created")  # keys that the writer alone can give
TABLES = ("deployments", "media", "observations")
TEXTS = ("title", "description", "version", "id", "homepage", "image", "bibliographicCitation")
PROJECT_TEXTS = ("id", "acronym", "description", "path")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LICENSE_NAME = re.compile(r"[-a-zA-Z0-9._]+")
PACKAGE_NAME = re.compile(r"[-a-z0-9._/]+")
# What must be given, with an example of each.
ASKED: Mapping[str, Any] = {
    "contributors": [{"title": "Ada Lund", "email": "ada@example.org", "role": "contact"}],
    "licenses": [{"name": "CC0-1.0", "scope": "data"}, {"name": "CC-BY-4.0", "scope": "media"}],
    "project.title": "Predators of the northern forest",
    "project.samplingDesign": "systematicRandom",
    "project.captureMethod": ["activityDetection"],
    "project.individualAnimals": False,
}


def read_project(path: Path | None) -> dict[str, Any]:
    """The content of project.json. Raises UsageError for a missing file, and one that lacks or breaks a key.

    All of these are named, with an example for each that is missing.
    """
    if path is None:
        raise UsageError(
            "what only people know of the project is missing; give --project project.json with these keys:"
            f"{_examples(ASKED)}"
        )
    if not path.is_file():
        raise UsageError(f"--project {path}: no such file; it is a JSON with these keys:{_examples(ASKED)}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: is no object, {{ ... }}; it is a JSON with these keys:{_examples(ASKED)}")
    missing = [name for name in ASKED if _is_empty(_at(content, name))]
    if missing:
        raise UsageError(
            f"{path}: {len(missing)} keys are missing that only people know:{_examples(missing)}"
        )
    if faults := list(_faults(content)):
        raise UsageError(f"{path}: {'; '.join(faults)}")
    return content


def _examples(names: Iterable[str]) -> str:
    return "".join(f"\n  {name}, such as {json.dumps(ASKED[name])}{_choices(name)}" for name in names)


def _choices(name: str) -> str:
    choices = {"project.samplingDesign": DESIGNS, "project.captureMethod": CAPTURE_METHODS}.get(name)
    return f" (of {', '.join(choices)})" if choices else ""


def _at(content: Mapping[str, Any], name: str) -> Any:
    """What stands at a key such as project.title; None where it is not there."""
    outer, _, inner = name.partition(".")
    found = content.get(outer)
    return found if not inner else found.get(inner) if isinstance(found, dict) else None


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


# --- what is wrong with it ----------------------------------------------------------------------------------


def _faults(content: Mapping[str, Any]) -> Iterable[str]:
    """What the profile of the standard would refuse, each with its key and the way out."""
    yield from _faults_of_contributors(content["contributors"])
    yield from _faults_of_licenses(content["licenses"])
    yield from _faults_of_project(content["project"])
    for name in TEXTS:
        if name in content and not isinstance(content[name], str):
            yield f"{name} is no text; put it in quotes"
    own_name = content.get("name")
    if own_name is not None and not PACKAGE_NAME.fullmatch(str(own_name)):
        yield "name holds other characters than a to z, 0 to 9 and - . _ /; write it so"
    words = content.get("keywords", ["none"])
    if not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
        yield 'keywords is no list of words, ["predators", ...]; write it so, or leave it out'
    yield from _faults_of_coverage(content)


def _faults_of_contributors(listed: Any) -> Iterable[str]:
    if not _are_objects(listed):
        yield "contributors is no list of objects; write it as " + json.dumps(ASKED["contributors"])
        return
    for number, each in enumerate(listed):
        if not (isinstance(each.get("title"), str) and each["title"].strip()):
            yield f"contributors[{number}] has no title; write the name of the person or organisation"
        if "role" in each and each["role"] not in ROLES:
            yield f"contributors[{number}].role {_said(each['role'])} is none of {', '.join(ROLES)}"


def _faults_of_licenses(listed: Any) -> Iterable[str]:
    if not _are_objects(listed):
        yield "licenses is no list of objects; write it as " + json.dumps(ASKED["licenses"])
        return
    for number, each in enumerate(listed):
        if not any(isinstance(each.get(name), str) and each[name].strip() for name in ("name", "path")):
            yield f"licenses[{number}] has neither name nor path; write name, such as CC-BY-4.0"
        elif "name" in each and not LICENSE_NAME.fullmatch(str(each["name"])):
            yield f"licenses[{number}].name {_said(each['name'])} is no name such as CC-BY-4.0; use path"
        if each.get("scope") not in SCOPES:
            yield f"licenses[{number}].scope is none of {', '.join(SCOPES)}"
    for scope in SCOPES:
        if all(each.get("scope") != scope for each in listed):
            yield f"licenses has none of scope {scope}; the data and the media each need one"


def _faults_of_project(project: Mapping[str, Any]) -> Iterable[str]:
    if not isinstance(project["title"], str):
        yield "project.title is no text; put it in quotes"
    if project["samplingDesign"] not in DESIGNS:
        yield f"project.samplingDesign {_said(project['samplingDesign'])} is none of {', '.join(DESIGNS)}"
    if not isinstance(project["individualAnimals"], bool):
        yield "project.individualAnimals is neither true nor false"
    for name, choices in (("captureMethod", CAPTURE_METHODS), ("observationLevel", LEVELS)):
        given = project.get(name, [])
        if not isinstance(given, list) or any(each not in choices for each in given):
            yield f"project.{name} is no list of {', '.join(choices)}; write it as {json.dumps([choices[0]])}"
        elif len(set(given)) < len(given):
            yield f"project.{name} names one twice; keep one"
    level = project.get("observationLevel", ["media"])
    if isinstance(level, list) and "media" not in level:
        yield 'project.observationLevel lacks "media", the level of what is predicted; leave the key out'
    for name in PROJECT_TEXTS:
        if name in project and not isinstance(project[name], str):
            yield f"project.{name} is no text; put it in quotes"


def _faults_of_coverage(content: Mapping[str, Any]) -> Iterable[str]:
    spatial, temporal = content.get("spatial"), content.get("temporal")
    if spatial is not None and not (isinstance(spatial, dict) and isinstance(spatial.get("type"), str)):
        yield "spatial is no GeoJSON object; leave it out, and it is computed"
    if temporal is not None and not (
        isinstance(temporal, dict) and all(DAY.fullmatch(str(temporal.get(end))) for end in ("start", "end"))
    ):
        yield "temporal has no start and end such as 2024-05-31; leave it out, and it is computed"
    taxa = content.get("taxonomic")
    if taxa is not None and not (
        isinstance(taxa, list)
        and all(isinstance(each, dict) and isinstance(each.get("scientificName"), str) for each in taxa)
    ):
        yield "taxonomic is no list of objects with a scientificName; leave it out, and it is computed"


def _are_objects(listed: Any) -> bool:
    return isinstance(listed, list) and all(isinstance(each, dict) for each in listed)


def _said(value: Any) -> str:
    return shown(value if isinstance(value, str) else json.dumps(value))


# --- the descriptor -----------------------------------------------------------------------------------------


def descriptor(
    project: Mapping[str, Any], deployments: Sequence[Deployment], taxa: Sequence[Taxon], created: datetime
) -> dict[str, Any]:
    """datapackage.json: what the project gives, and of the rest what can be computed.

    taxa: those that are observed.
    """
    given = {name: value for name, value in project.items() if name not in OURS and value is not None}
    computed = {
        "resources": [_resource(name) for name in TABLES],
        "profile": f"{SOURCE}/camtrap-dp-profile.json",
        "created": written_moment(created),
    }
    coverage = {
        "spatial": _spatial(deployments),
        "temporal": {
            "start": min(_day(each.cells[START]) for each in deployments),
            "end": max(_day(each.cells[END]) for each in deployments),
        },
        "taxonomic": _taxonomic(taxa),
    }
    return {
        **computed,
        **coverage,
        **given,
        "project": {"observationLevel": ["media"], **given["project"]},
    }


def _resource(name: str) -> dict[str, str]:
    return {
        "name": name,
        "path": f"{name}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{SOURCE}/{name}-table-schema.json",
    }


def _day(time: str) -> str:
    return time.partition("T")[0]


def _spatial(deployments: Sequence[Deployment]) -> dict[str, Any]:
    """The smallest box around all deployments, as GeoJSON; two where it lies across the antimeridian."""
    latitudes = [float(each.cells["latitude"]) for each in deployments]
    south, north = min(latitudes), max(latitudes)
    west, east = _west_and_east(sorted({float(each.cells["longitude"]) for each in deployments}))
    if west <= east:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    halves = [[_ring(west, south, 180.0, north)], [_ring(-180.0, south, east, north)]]
    return {"type": "MultiPolygon", "coordinates": halves}


def _west_and_east(longitudes: Sequence[float]) -> tuple[float, float]:
    """The ends of the shortest arc over all of some different longitudes, in order."""
    ends = [(*longitudes[place : place + 2],) for place in range(len(longitudes) - 1)]
    widest = max(ends, key=lambda pair: pair[1] - pair[0], default=None)
    outside = longitudes[0] + 360 - longitudes[-1]
    if widest is None or widest[1] - widest[0] <= outside:
        return longitudes[0], longitudes[-1]
    return widest[1], widest[0]


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _taxonomic(taxa: Iterable[Taxon]) -> list[dict[str, Any]]:
    """A taxon for each scientific name, by name. Common names are left out: of what language is not known."""
    found: dict[str, dict[str, Any]] = {}
    for taxon in taxa:
        entry: dict[str, Any] = {"scientificName": taxon.scientific_name}
        if taxon.identifier:
            entry["taxonID"] = taxon.identifier
        if taxon.rank in RANKS:
            entry["taxonRank"] = taxon.rank
        entry |= {rank: name for rank, name in (taxon.names or {}).items() if rank in NAMED_RANKS and name}
        found.setdefault(taxon.scientific_name, entry)
    return [found[name] for name in sorted(found)]
