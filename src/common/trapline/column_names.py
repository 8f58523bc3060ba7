"""What the columns of tables are called: by the names that are known, or as a person says.

Case, blanks, points, hyphens and underscores in a name do not count.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from trapline.names import clean

# Columns that mean the same: what this project calls them, and the names that are known for them, best first.
KNOWN = {
    "id": ("id", "imageid", "imgid", "mediaid", "photoid", "pictureid"),
    "filepath": (
        "filepath", "path", "filename", "file", "imagepath", "relativepath", "image", "imagename",
        "imagefile",
        "imagefilename", "img", "imgpath", "imgname", "imgfile", "photo", "photopath", "photoname",
        "photofile",
        "picture", "picturename", "fullpath", "mediapath", "imageurl", "photourl", "url", "uri",
    ),
    "site": (
        "site", "siteid", "sitename", "location", "locationid", "locationname", "station", "stationid",
        "stationname", "placename", "place", "camera", "cameraid", "cameraname", "camerasite",
        "camerastation",
        "cameralocation", "cameratrap", "cameratrapid", "trap", "trapid", "trapname", "trapsite",
        "deployment",
        "deploymentid", "deploymentname",
    ),
    "sequence": (
        "sequence", "sequenceid", "seq", "seqid", "event", "eventid", "burst", "burstid", "captureevent",
        "captureeventid", "triggerid",
    ),
    "split": ("split", "subset", "set", "partition"),
    "label": (
        "label", "class", "species", "category", "labelname", "classname", "categoryname", "speciesname",
        "specieslabel", "scientificname", "commonname", "speciescommonname", "vernacularname", "taxon",
        "taxonname",
    ),
    "time": (
        "datetime", "timestamp", "dateandtime", "datetimeoriginal", "time", "capturetime", "imagedatetime",
        "photodatetime", "capturedatetime", "datecaptured", "datetimecaptured", "datetimetaken", "timetaken",
        "takenat", "capturedat", "capturedon", "eventtime",
    ),
    "date": ("date", "capturedate", "datetaken", "imagedate", "photodate", "eventdate"),
}  # fmt: skip
# Where a table has one of these columns, "class" and "species" are words of a taxonomy and no whole names.
RANKS = ("order", "family", "genus")
OF_RANKS = ("class", "species")
LABELS = "labels"  # the column, where a person names one, whose cells hold any number of labels


def known_columns(names: Sequence[str]) -> dict[str, str]:
    """For each of the KNOWN columns its name among `names`: the exact one, else the first that is known.

    Beside an order, family or genus any other known label goes before a class and a species.
    """
    plain = {plain_column(name): name for name in reversed(names)}
    known = {**KNOWN, "label": _labels_known(plain)}
    found = {
        column: column if column in names else next((plain[own] for own in spellings if own in plain), None)
        for column, spellings in known.items()
    }
    return {column: name for column, name in found.items() if name is not None}


def numbered(known: str, number: int) -> str:
    """What the first, second, ... column of a kind is called where a person names several, as of labels."""
    return known if number == 1 else f"{known} {number}"


def plain_column(name: str) -> str:
    """A column's name as KNOWN has it: without case, blanks, points, hyphens and underscores."""
    return re.sub(r"[\s_.-]+", "", name.casefold())


def _labels_known(plain: Collection[str]) -> tuple[str, ...]:
    if not any(rank in plain for rank in RANKS):
        return KNOWN["label"]
    others = (name for name in KNOWN["label"] if name not in OF_RANKS)
    return (*others, *reversed(OF_RANKS))


def named_columns(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """For each of the `given` columns that a table has its name among `names`, whatever its case and
    blanks.
    """
    plain = {clean(name).casefold(): name for name in reversed(names)}
    found = {known: plain.get(clean(column).casefold()) for known, column in given.items()}
    return {known: name for known, name in found.items() if name is not None}
