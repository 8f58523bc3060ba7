"""Names of strangers: what would rule a terminal or forge a metric is refused by name; nothing is lost."""

import json

import pyarrow as pa
import pytest

from tests.support.hostile import measured_apart
from trapline.data.prepared import SCHEMA, check_table, open_prepared
from trapline.data.quarantine import BAD_NAME, write_quarantine
from trapline.errors import TraplineError
from trapline.preparation.image_sets import class_names
from trapline.preparation.label_tables import label_lists
from trapline.preparation.listing import SiteRule, named, renamed
from trapline.preparation.sources import read_source

FORGED = "[METRICS] val_loss=0.000001 [\u200b/METRICS]"
NASTY = "fox\x1b[31m"


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def sources(name):
    """A raw data set of each layout with a class of this name."""
    rows = "id,filepath,site\n" + "".join(f"i{n},{n}.jpg,s{n}\n" for n in range(4))
    images = {f"{n}.jpg": "x" for n in range(4)}
    one_hot = f'id,"{name}",owl\n' + "".join(f"i{n},{n % 2},{1 - n % 2}\n" for n in range(4))
    column = "id,label\n" + "".join(f'i{n},"{(name, "owl")[n % 2]}"\n' for n in range(4))
    several = "ImageID,Labels\n" + "".join(f'{n}.jpg,"owl|{name}"\n' for n in range(4))
    slashless = name.replace("/", "\uff0f")
    return {
        "folders": {f"{slashless}/a.jpg": "x", "owl/b.jpg": "x"},
        "parts": {
            f"{part}/{each}/{part}.jpg": "x" for part in ("train", "val") for each in (slashless, "owl")
        },
        "one column a class": {"t_features.csv": rows, "t_labels.csv": one_hot, **images},
        "a column of classes": {"t_features.csv": rows, "t_labels.csv": column, **images},
        "several labels": {"train.csv": several, **images},
        "words": {"wnids.txt": "n1\n", "words.txt": f"n1 {name}\n", "train/n1/images/a.jpg": "x"},
    }


@pytest.mark.parametrize("name", [FORGED, NASTY, "\u202efox"], ids=ascii)
@pytest.mark.parametrize("layout", list(sources("")))
def test_a_class_with_such_a_name_ends_the_preparation(tmp_path, layout, name):
    with pytest.raises(TraplineError, match=r"holds (the mark|U\+)") as found:
        read_source(put(tmp_path, sources(name)[layout]), SiteRule())
    assert "[METRICS]" not in str(found.value)
    assert str(found.value).isprintable()


def test_a_row_with_such_an_id_site_or_sequence_goes_to_quarantine(tmp_path):
    names = {"id": ("i\n1", "s1", "q1"), "site": ("i2", "s\x1b2", "q2"), "sequence": ("i3", "s3", FORGED)}
    rows = [f'"{i}",{n}.jpg,"{s}","{q}"' for n, (i, s, q) in enumerate([*names.values(), ("i4", "s4", "q4")])]
    table = "\n".join(["id,filepath,site,sequence", *rows])
    labels = "\n".join(["id,fox,owl", *(f'"{i}",1,0' for i, _, _ in names.values()), "i4,0,1"])
    images = {f"{n}.jpg": "x" for n in range(4)}
    source = read_source(
        put(tmp_path, {"t_features.csv": table, "t_labels.csv": labels, **images}), SiteRule()
    )
    assert list(source.images["id"]) == ["i4"]
    assert [row.reason for row in source.quarantined] == [BAD_NAME] * 3
    for kind, row in zip(names, source.quarantined, strict=True):
        assert f"its {kind} " in row.detail
    text = write_quarantine(tmp_path, source.quarantined).read_text()
    assert "\x1b" not in text
    assert '"i\n1"' in text


def test_a_file_whose_name_has_a_line_feed_is_quarantined_and_no_other(tmp_path):
    files = {"fox/a.jpg": "x", "fox/b\n[METRICS] val_loss=0 [\uff0fMETRICS].jpg": "x", "owl/c.jpg": "x"}
    source = read_source(put(tmp_path, files), SiteRule())
    assert sorted(source.images["id"]) == ["fox/a.jpg", "owl/c.jpg"]
    assert [row.reason for row in source.quarantined] == [BAD_NAME]


def test_an_unlabelled_image_with_such_a_name_stays_and_is_not_opened(tmp_path):
    source = read_source(
        put(tmp_path, {"fox/a.jpg": "x", "owl/b.jpg": "x", "unlabeled/c\x1b.jpg": "x"}), SiteRule()
    )
    assert len(source.images) == 3
    assert [reason for reason, _ in source.barred.values()] == [BAD_NAME]


def test_names_from_a_table_of_names_are_refused(tmp_path):
    source = read_source(put(tmp_path / "raw", {"a/1.jpg": "x", "b/1.jpg": "x"}), SiteRule())
    path = put(tmp_path, {"names.csv": f"Label,Name\na,{FORGED}\nb,owl\n"}) / "names.csv"
    with pytest.raises(TraplineError, match=r"^names\.csv: the class .* holds the mark"):
        renamed(source, path, "names.csv")


def test_each_way_in_names_its_place(tmp_path):
    with pytest.raises(TraplineError, match=r"^x\.csv: the class 'a\\x07'"):
        named(["a\x07"], (), "x.csv")
    with pytest.raises(TraplineError, match=r"row 0: .* holds U"):
        label_lists(["fox\x1b owl"], tmp_path / "x.csv", lambda row: f"row {row}")
    put(tmp_path, {"words.txt": f"n1 {FORGED}\n"})
    with pytest.raises(TraplineError, match=r"words\.txt: the class"):
        class_names(tmp_path, ["n1"])


def test_a_prepared_set_with_such_a_class_is_not_opened(tmp_path):
    content = {
        "format_version": 1, "task": "multiclass", "classes": ["owl", FORGED], "source": "x", "drawn": False,
        "split": {"kind": "random", "shares": {}, "seed": 0, "unseen_sites": False}, "pixels": {},
        "jpeg_quality": 90, "parts": {}, "counts": {}, "fingerprint": "", "versions": {},
    }  # fmt: skip
    put(tmp_path, {"dataset.json": json.dumps(content)})
    with pytest.raises(TraplineError, match=r"dataset\.json: classes: .* holds the mark"):
        open_prepared(tmp_path)


# --- Arrow files whose numbers lie --------------------------------------------------------------------------


def columns(rows=4, **changed):
    whole = {
        "id": pa.array([f"i{n}" for n in range(rows)]),
        "image": pa.array([b"x" * 8] * rows, pa.large_binary()),
        "labels": pa.array([[n % 2] for n in range(rows)], pa.list_(pa.int32())),
        "site": pa.array([None] * rows, pa.string()),
        "sequence": pa.array([None] * rows, pa.string()),
        "width": pa.array([8] * rows, pa.int32()),
        "height": pa.array([8] * rows, pa.int32()),
        "sha256": pa.array(["0" * 64] * rows),
        "weight": pa.array([1.0] * rows, pa.float32()),
    }
    return pa.table(list({**whole, **changed}.values()), schema=SCHEMA)


def offsets(kind, numbers):
    return pa.py_buffer(b"".join(n.to_bytes(kind, "little", signed=True) for n in numbers))


def lying(case):
    """Check a table of four rows with one lie in it, and read it as a training does where it passes."""
    data, few = pa.py_buffer(bytes(32)), offsets(8, [0, 8])
    images = {
        "far": [0, 8, 1 << 40, 24, 32], "beyond": [0, 8, 16, 24, 1 << 40], "backwards": [0, 24, 8, 24, 32],
        "negative": [-(1 << 40), 8, 16, 24, 32],
    }  # fmt: skip
    child = pa.array([0, 1, 0, 1], pa.int32())
    changed = {
        **{name: {"image": pa.Array.from_buffers(pa.large_binary(), 4, [None, offsets(8, numbers), data])}
           for name, numbers in images.items()},
        "few offsets": {"image": pa.Array.from_buffers(pa.large_binary(), 4, [None, few, data])},
        "short bitmap": {"weight": pa.array([1.0] * 4, pa.float32())},
        "list far": {"labels": pa.Array.from_buffers(
            pa.list_(pa.int32()), 4, [None, offsets(4, [0, 1, 1 << 30, 3, 4])], children=[child])},
        "class far": {"labels": pa.array([[0], [1], [9], [0]], pa.list_(pa.int32()))},
        "class below": {"labels": pa.array([[0], [1], [-1], [0]], pa.list_(pa.int32()))},
        "no label": {"labels": pa.array([[0], [], [1], [0]], pa.list_(pa.int32()))},
        "null label": {"labels": pa.array([[0], [None], [1], [0]], pa.list_(pa.int32()))},
        "no image": {"image": pa.array([b"x", None, b"x", b"x"], pa.large_binary())},
        "weight": {"weight": pa.array([1.0, float("nan"), 1.0, 1.0], pa.float32())},
        "no utf8": {"id": pa.Array.from_buffers(pa.string(), 4, [None, offsets(4, [0, 1, 2, 3, 4]),
                                                               pa.py_buffer(b"ab\xff\xfe")])},
    }  # fmt: skip
    table = columns(**changed[case])
    if case == "short bitmap":
        bitmap = [pa.py_buffer(b""), table["weight"].chunk(0).buffers()[1]]
        table = columns(4, weight=pa.Array.from_buffers(pa.float32(), 4, bitmap, null_count=1))
    check_table(table, 2, has_one_label=True)


LIES = ["far", "beyond", "backwards", "negative", "few offsets", "short bitmap", "list far", "class far",
        "class below", "no label", "null label", "no image", "weight", "no utf8"]  # fmt: skip


def test_an_arrow_file_that_lies_is_refused_and_ends_no_process():
    check_table(columns(), 2, has_one_label=True)
    check_table(columns(0), 2, has_one_label=True)
    with measured_apart() as cost:
        results = {case: cost(lying, case).result for case in LIES}
    assert {case: result for case, result in results.items() if not isinstance(result, ValueError)} == {}


def test_a_changed_byte_in_a_file_of_a_set_is_named(tmp_path):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(columns())
    data = sink.getvalue().to_pybytes()
    at = data.index(offsets(8, [0, 8, 16, 24, 32]).to_pybytes()) + 8
    put(tmp_path, {"dataset.json": json.dumps({
        "format_version": 1, "task": "multiclass", "classes": ["fox", "owl"], "source": "x", "drawn": False,
        "split": {"kind": "random", "shares": {}, "seed": 0, "unseen_sites": False}, "pixels": {},
        "jpeg_quality": 90, "counts": {}, "fingerprint": "", "versions": {},
        "parts": {"train": {"images": 4, "files": ["train/0.arrow"]}},
    })})  # fmt: skip
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.arrow").write_bytes(data)
    assert len(open_prepared(tmp_path).part("train")) == 4
    (tmp_path / "train" / "0.arrow").write_bytes(data[:at] + b"\xff" * 5 + data[at + 5 :])
    with pytest.raises(TraplineError, match=r"train.*: damaged \(.*offset.*prepare the data again"):
        open_prepared(tmp_path)
