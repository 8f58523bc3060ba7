"""What the classes of a model are in biology: a table that people write, and words for what is no animal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from trapline.errors import TraplineError, UsageError
from trapline.names import Kind, clean, key, keys, shown
from trapline.tables import read_rows

ObservationType: TypeAlias = Literal["animal", "human", "vehicle", "blank", "unknown"]
# What people call images without an animal, of themselves, of vehicles, and those that nobody could name.
WORDS: Mapping[ObservationType, frozenset[str]] = {
    "blank": frozenset(("blank", "empty", "nothing", "none", "no animal", "noanimal", "false trigger",
                        "false positive", "ghost", "misfire", "background")),
    "human": frozenset(("human", "humans", "person", "persons", "people", "man", "homo sapiens", "hiker",
                        "hikers", "staff", "setup", "team")),
    "vehicle": frozenset(("vehicle", "vehicles", "car", "cars", "truck", "bike", "bicycle", "motorcycle",
                          "motorbike", "quad")),
    "unknown": frozenset(("unknown", "unidentified", "unidentifiable")),
}  # fmt: skip
TYPES: tuple[ObservationType, ...] = ("animal", "human", "vehicle", "blank", "unknown")
RANKS = ("class", "order", "family", "genus", "species")  # in the order of the seven fields
REQUIRED = ("label", "scientificName", "rank")


@dataclass(frozen=True)
class Taxon:
    """What one class is. `rank`: in lower case, such as species; `names`: of RANKS, as far as they are given.

    identifier: of an authority's list, empty where none is given. common_name: in a person's language.
    """

    observation_type: ObservationType
    scientific_name: str = ""
    rank: str = ""
    names: Mapping[str, str] | None = None
    common_name: str = ""
    identifier: str = ""

    def seven_fields(self, label: str) -> str:
        """An id, class, order, family, genus, species and common name, between semicolons, in lower case.

        As `classification_category_descriptions` of MegaDetector's files have them; the species is the
        epithet alone. The common name is the label where none is given.
        """
        given = dict(self.names or {})
        if self.rank == "species" and not given.get("species"):
            genus, _, epithet = self.scientific_name.partition(" ")
            given = {**given, "genus": given.get("genus") or genus, "species": epithet}
        elif self.rank in RANKS and not given.get(self.rank):
            given[self.rank] = self.scientific_name
        names = [given.get(rank, "") for rank in RANKS]
        fields = [self.identifier, *names, self.common_name or label]
        return ";".join(field.replace(";", ",").strip().lower() for field in fields)


def observation_type(label: str) -> ObservationType:
    """What an image with this label shows, by the usual words; an animal where it is none of them."""
    words = " ".join(key(label, Kind.CLASS).replace("_", " ").replace("-", " ").split())
    return next((kind for kind, known in WORDS.items() if words in known), "animal")


def read_taxonomy(path: Path, classes: Sequence[str]) -> dict[str, Taxon]:
    """The taxon of each of `classes` that the CSV at `path` names, by class.

    Columns: label, scientificName, rank; where they are there also class, order, family, genus, species,
    vernacularName (or commonName), taxonID and observationType. Rows of labels that the model has not are
    passed over. Raises UsageError where there is no such file, TraplineError for a label with two rows, a
    species that is not two words or more, an observationType that is none, or where no class is named.
    """
    if not path.is_file():
        raise UsageError(f"--taxonomy {path}: no such file; it is a CSV with {', '.join(REQUIRED)}")
    names, rows = read_rows(path, REQUIRED)
    columns = {clean(name).casefold(): place for place, name in enumerate(names)}
    both = keys([*classes, *(_cell(row, columns, "label") for row in rows)], Kind.CLASS)
    class_of = dict(zip(both[: len(classes)], classes, strict=True))
    found: dict[str, Taxon] = {}
    for row, own in zip(rows, both[len(classes) :], strict=True):
        name = class_of.get(own)
        if name is None:
            continue
        if name in found:
            raise TraplineError(f"{path}: label {shown(name)} has two rows; keep one")
        found[name] = _taxon(path, name, row, columns)
    if not found:
        raise TraplineError(
            f"{path}: names none of the model's classes ({', '.join(map(shown, classes[:5]))}, ...)"
        )
    return found


def taxon_of(label: str, taxonomy: Mapping[str, Taxon]) -> Taxon:
    """The taxon of a class: the taxonomy's, else what the usual words say, else an animal without a name."""
    return taxonomy.get(label) or Taxon(observation_type(label))


def _cell(row: Sequence[str], columns: Mapping[str, int], *names: str) -> str:
    return next((clean(row[columns[name.casefold()]]) for name in names if name.casefold() in columns), "")


def _taxon(path: Path, label: str, row: Sequence[str], columns: Mapping[str, int]) -> Taxon:
    said = _cell(row, columns, "observationType").casefold()
    kind = next((known for known in TYPES if known == said), None)
    if said and kind is None:
        raise TraplineError(
            f"{path}: {shown(label)}: observationType {shown(said)} is none of {', '.join(TYPES)}"
        )
    name, rank = _cell(row, columns, "scientificName"), _cell(row, columns, "rank", "taxonRank").casefold()
    if rank == "species" and len(name.split()) < 2:
        raise TraplineError(
            f"{path}: {shown(label)}: scientificName {shown(name)} is no species, which has two words; "
            "write both, or another rank"
        )
    return Taxon(
        kind or ("animal" if name and name.casefold() != "homo sapiens" else observation_type(label)),
        name,
        rank,
        {rank: found for rank in RANKS if (found := _cell(row, columns, rank))},
        _cell(row, columns, "vernacularName", "commonName", "common name", "common_name"),
        _cell(row, columns, "taxonID", "id"),
    )
