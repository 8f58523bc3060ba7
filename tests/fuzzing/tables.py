"""Tables: of labels and their names, of the competition, beside images; lists of labels."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pandas as pd

from tests.fuzzing.inputs import Failure, Input, Kind
from tests.fuzzing.mutations import mutated
from trapline.errors import TraplineError
from trapline.preparation.label_tables import label_lists
from trapline.preparation.listing import SiteRule, Source, renamed
from trapline.preparation.sources import read_source
from trapline.tables import read_rows, read_table

IMAGES = ("a1.jpg", "a2.jpg", "b 3.jpg", "b4.png", "caf\u00e9.jpg", "x.jpg")
CLASSES = ("fox", "owl", "blank")
FORMATS, ANY = "submission formats", "tables of any kind"
MOSTLY_ANY = 0.6  # for the reader below all others takes a tenth of their time
LABELS = (
    "ImageID,Labels,Caption\na1.jpg,1 3,two of them\na2.jpg,3,\"one, alone\"\nb4.png,,nothing\n",
    "ImageID,Labels\na1,fox|owl\na2,owl\nx.jpg,fox\n",
    "imageid;labels;site\na1.jpg;fox, owl;s1\na2.jpg;owl;s2\n",
    "ImageID,Labels,Split\na1.jpg,\"['fox', 'owl']\",train\na2.jpg,\"['owl']\",val\n",
    "sep=;\nImageID;Labels\na1.jpg;2\nb 3.jpg;4\n",
    "# a comment\nImageID\tLabels\na1.jpg\t2\ncaf\u00e9.jpg\t4\n",
)  # fmt: skip
FEATURES = (
    "id,filepath,site\nZ1,train/a1.jpg,s1\nZ2,train/a2.jpg,s2\nZ3,train/x.jpg,s1\n",
    "ID;Path;Location;Seq_ID;split\nZ1;train/a1.jpg;s1;q;train\nZ2;train\\a2.jpg;s2;q;val\n",
    ",id,filepath\n0,Z1,train/a1.jpg\n1,Z2,train/caf\u00e9.jpg\n2,Z3,../../out.jpg\n",
)  # fmt: skip
ONE_HOT = (
    "id,fox,owl,blank\nZ1,1,0,0\nZ2,0,1.0,0\nZ3,0,0,1\n", "id,label\nZ1,fox\nZ2,owl\nZ3,Fox \n",
    "id;fox;owl\nZ1;true;false\nZ2;no;yes\n",
)  # fmt: skip
SUBMISSION = ("id,fox,owl,blank\nZ1,0.3,0.3,0.4\nZ2,0.1,0.2,0.7\n", "blank;Owl;id;fox\n1;0;Z1;0\n")
BESIDE = (
    "path,label,split,site\nfox/a1.jpg,fox,train,s1\nowl/a2.jpg,owl,val,s2\n",
    "filename,site\na1.jpg,s1\nx.jpg,s2\n", "image;class\nfox/a1.jpg;fox\nowl/x.jpg;OWL\n",
)  # fmt: skip
NAMES = (
    "Label,Name\nfox,Vulpes vulpes\nowl,Strix\n",
    "label;name\nfox;a\nowl;a\n",
    "Name,Label\n,fox\nb,owl\n",
)
LISTS = ("1 2\n3\n", "fox|owl\nowl\n", "['fox', 'owl']\n[1, 2.5]\n[]\n", "a b, c\nd\n", "fox; owl\n")
TEXTS = {
    "label tables": LABELS, "features": FEATURES, "competition labels": ONE_HOT,
    "tables beside images": BESIDE, "label names": NAMES, "label lists": LISTS, FORMATS: SUBMISSION,
    ANY: (*LABELS, *FEATURES, *ONE_HOT, *SUBMISSION, *BESIDE, *NAMES),
}  # fmt: skip
NAMED = {
    "label tables": "labels.csv", "features": "train_features.csv", "competition labels": "train_labels.csv",
    "tables beside images": "labels.csv", "label names": "names.csv", FORMATS: "submission_format.csv",
    ANY: "table.csv",
}  # fmt: skip
WORDS = (b'"', b'""', b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe",
         b"\xe9", b"#", b"sep=;\n", b"../", b"../../canary.jpg", b"/proc/self/environ", b"http://x/",
         b"C:\\", b"\\\\server\\x", b"a1.jpg", b"Z1", b"fox", b"nan", b"-1", b"1e999", b"0.5", b"True", b"[",
         b"]", b"'", b"(" * 300, b"-" * 3_000, b"[" * 300, b"9" * 5_000, b" ", b"\xc2\xa0", b"\xe2\x80\x8b",
         b"\xe2\x80\xae", b"\x1b[31m", b"train", b"val", b"unlabeled", b"Labels", b"ImageID", b"id",
         b"filepath", b"site", b"split", b"x" * 300, b"\xf0\x9f\xa6\x8a", b"e\xcc\x81", b"\xed\xa0\x80",
         b"{", b"}", b"\\", b"=1+1", b"1_000", b"\xd9\xa1")  # fmt: skip
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32")


def make(chance: Random) -> Input:
    """A mutated table, now and then in another encoding."""
    target = ANY if chance.random() < MOSTLY_ANY else chance.choice(list(TEXTS))
    seeds = [text.encode() for text in TEXTS[target]]
    encoding, text = chance.choice(ENCODINGS), chance.choice(seeds)
    others = [*seeds, *(own.encode() for texts in (LABELS, FEATURES, ONE_HOT) for own in texts)]
    if chance.random() < 0.2:
        text = text.decode().encode(encoding)
    data = mutated(text, chance, others, WORDS)
    if encoding != "utf-8" and chance.random() < 0.2:
        data = data.decode("utf-8", "replace").encode(encoding, "replace")
    return Input(target, data, encoding)


def check(given: Input, folder: Path) -> str:
    """Read it as the preparation does; a TraplineError, and nothing else, may come out instead."""
    if given.target in NAMED:
        (_laid_out(given.target, folder) / NAMED[given.target]).write_bytes(given.data)
    try:
        READERS[given.target](given, folder)
    except TraplineError as error:
        if not str(error):
            raise Failure("an error without a message") from None
        return f"{given.target} refused"
    return f"{given.target} read"


def examples(target: str) -> Sequence[Input]:
    """Tables as they should be, in an encoding and in another."""
    first, *_ = texts = TEXTS[target]
    return [
        Input(target, first.encode("cp1252", "replace")),
        *(Input(target, text.encode()) for text in texts),
    ]


@functools.cache
def _laid_out(target: str, folder: Path) -> Path:
    """The folder with the images, whose content nobody asks for, and the tables that do not change."""
    places = {"features": ["train"], "competition labels": ["train"], "tables beside images": ["fox", "owl"]}
    for place in places.get(target, ["" if target == "label tables" else "none"]):
        (folder / place).mkdir(exist_ok=True)
        for name in IMAGES:
            (folder / place / name).touch()
    if target in ("features", "competition labels"):
        (folder / "train_features.csv").write_text(FEATURES[0], encoding="utf-8")
        (folder / "train_labels.csv").write_text(ONE_HOT[0], encoding="utf-8")
        (folder / "submission_format.csv").write_text(SUBMISSION[0], encoding="utf-8")
    return folder


def _read_source(given: Input, folder: Path) -> None:
    """List the images. None that may be opened lies elsewhere."""
    source = read_source(folder, SiteRule())
    top = os.path.realpath(folder)
    for path in source.images["path"]:
        if (
            "\0" not in path
            and path not in source.barred
            and not os.path.realpath(path).startswith(f"{top}/")
        ):
            raise Failure(f"lists {path!r}, which is outside the folder")
    if not all(0 <= label < len(source.classes) for label in source.images["label"] if label >= 0) and (
        source.task == "multiclass"
    ):
        raise Failure("lists a label that is none of the classes")


def _read_names(given: Input, folder: Path) -> None:
    source = Source(pd.DataFrame({"id": ["a"]}), list(CLASSES))
    found = renamed(source, folder / NAMED["label names"], "names.csv")
    if len(found.classes) != len(CLASSES) or not all(found.classes):
        raise Failure(f"names the classes {found.classes!r}")


def _read_lists(given: Input, folder: Path) -> None:
    cells = given.data.decode("utf-8", "surrogateescape").split("\n")
    lists = label_lists(cells, folder / "labels.csv", lambda row: f"line {row}")
    if len(lists) != len(cells) or not all(isinstance(label, str) for labels in lists for label in labels):
        raise Failure("other lists than cells, or other labels than texts")


def _read_format(given: Input, folder: Path) -> None:
    from trapline.reports.answer_tables import read_format  # which takes seconds to import

    wanted = read_format(folder / NAMED[FORMATS], CLASSES)
    if len(wanted.columns) != len(CLASSES) + 1 or len(set(wanted.ids)) != len(wanted.ids):
        raise Failure(f"takes {wanted.columns} for the columns, {wanted.ids} for the ids")


def _read_any(given: Input, folder: Path) -> None:
    table = read_table(folder / NAMED[ANY], [])
    header, rows = read_rows(folder / NAMED[ANY])
    if len(rows) != len(table.lines) or any(len(row) != len(header) for row in rows):
        raise Failure(f"{len(rows)} rows below {len(header)} cells, of which {len(table.lines)} have lines")


READERS: dict[str, Callable[[Input, Path], None]] = {
    ANY: _read_any, "label names": _read_names, "label lists": _read_lists, FORMATS: _read_format,
    **dict.fromkeys(("label tables", "features", "competition labels", "tables beside images"), _read_source),
}  # fmt: skip
KIND = Kind("tables", make, check, examples)
