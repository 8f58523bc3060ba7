"""Timelapse's CSV, as new and old versions write it."""

import pytest

from tests.support.disk import prepared, put, read
from tests.support.written_sets import drawn_set, write_timelapse
from trapline.errors import TraplineError, UsageError
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import Reading

PICTURES = {"st1/1.jpg": "", "st1/2.jpg": "", "st2/1.jpg": "", "st2/2.jpg": ""}
HEADER = "RootFolder,File,RelativePath,DateTime,DeleteFlag"


def export(*rows, header=f"{HEADER},Species"):
    return "\n".join([header, *rows]) + "\n"


def rows(labels=("Fox", "Owl", "Fox", ""), flags=("false",) * 4):
    """A row for each of PICTURES."""
    return [
        f"Photos,{path[4:]},{path[:3]},2019-05-31 14:02:11,{flag},{label}"
        for path, label, flag in zip(PICTURES, labels, flags, strict=True)
    ]


def site(path):
    return path.split("/")[0]


# --- what is written is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_set_that_is_written_as_timelapse_does_is_read_back(tmp_path, old):
    records = drawn_set(tmp_path)
    write_timelapse(tmp_path / "TimelapseData.csv", records, old=old)
    found = read(tmp_path)
    assert found.labels == {record.path: record.label for record in records}
    assert found.images["site"].to_dict() == {record.path: site(record.path) for record in records}
    assert found.images["time"].to_dict() == {r.path: r.time.replace("T", " ") for r in records}
    assert found.quarantined == {}


def test_counters_are_labels_by_the_names_of_their_columns(tmp_path):
    records = drawn_set(tmp_path)
    names = ["wild boar", "red deer", "empty"]
    write_timelapse(tmp_path / "TimelapseData.csv", records, labels=names)
    columns = dict(zip(("label", "label 2", "label 3"), names, strict=True))
    found = read(tmp_path, columns=columns)
    assert found.labels == {record.path: record.label for record in records}
    assert (
        "TimelapseData.csv: red deer is a counter: where it is not zero, the label is 'red deer'"
        in found.notes
    )


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["0", "2", "", "0"], "counter"),
        (["0", "1.0", "0.0", "00"], "counter"),
        (["false", "TRUE", "False", ""], "flag"),
        (["0", "9" * 400, "0", "0"], "counter"),
    ],
)
def test_a_counter_or_flag_says_nothing_where_it_is_not_set(tmp_path, cells, kind):
    table = export(*rows(cells), header=f"{HEADER},Fox")
    put(tmp_path, {**PICTURES, "all.csv": table})
    found = read(tmp_path, columns={"label": "fox"})
    assert list(found.labels.values()) == [None, "Fox", None, None]
    assert f"Fox is a {kind}" in found.notes


def test_several_counters_of_one_image_are_several_labels(tmp_path):
    cells = ["1,0", "0,1", "2,1", "0,0"]
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(cells), header=f"{HEADER},Fox,Owl")})
    found = read(tmp_path, columns={"label": "Fox", "label 2": "Owl"})
    assert list(found.labels.values()) == [{"Fox"}, {"Owl"}, {"Fox", "Owl"}, set()]
    assert found.quarantined == {}


def test_choices_of_a_cell_are_labels_of_their_own(tmp_path):
    cells = ['"fox,red deer"', "owl", "red deer", ""]
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(cells))})
    found = read(tmp_path)
    assert list(found.labels.values()) == [{"fox", "red deer"}, {"owl"}, {"red deer"}, set()]
    assert "holds several labels a cell, with commas between them" in found.notes


@pytest.mark.parametrize("cell", ['"deer, red"', '"1,5"', '",fox"'])
def test_a_cell_that_no_multichoice_writes_is_one_label(tmp_path, cell):
    put(tmp_path, {**PICTURES, "all.csv": export(*rows([cell, "owl", cell, "owl"]))})
    assert list(read(tmp_path).labels.values()) == [cell.strip('"'), "owl"] * 2


def test_choices_are_one_label_where_the_column_is_named_and_several_where_it_is_named_so(tmp_path):
    cells = ['"deer,red"', "owl", '"deer,red"', ""]
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(cells))})
    assert list(read(tmp_path, columns={"label": "species"}).labels.values()) == [
        "deer,red",
        "owl",
        "deer,red",
        None,
    ]
    several = read(tmp_path, columns={"labels": "species"}).labels
    assert list(several.values()) == [{"deer", "red"}, {"owl"}, {"deer", "red"}, set()]


def test_numbers_in_a_known_column_of_labels_are_labels(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(["7", "0", "7", ""]))})
    assert list(read(tmp_path).labels.values()) == ["7", "0", "7", None]


# --- where images lie ---------------------------------------------------------------------------------------


def test_the_folder_above_the_root_may_be_given(tmp_path):
    put(tmp_path / "drive" / "Photos", PICTURES)
    put(tmp_path, {"exports/all.csv": export(*rows())})
    reading = Reading(table=tmp_path / "exports" / "all.csv", media=InputFolder(tmp_path / "drive"))
    found = read(tmp_path / "exports", reading=reading)
    assert [path.removeprefix(f"{tmp_path}/drive/Photos/") for path in found.images["path"]] == list(PICTURES)
    assert set(found.images.index) == set(PICTURES)


def test_the_same_paths_below_two_roots_are_other_images(tmp_path):
    put(tmp_path, {f"{root}/{path}": "" for root in ("A", "B") for path in PICTURES})
    for root, labels in (("A", "wxyz"), ("B", "zyxw")):
        put(tmp_path, {f"{root}.csv": export(*rows(labels)).replace("Photos", root)})
    found = read(tmp_path)
    assert found.labels == {
        f"{root}/{path}": label
        for root, labels in (("A", "wxyz"), ("B", "zyxw"))
        for path, label in zip(PICTURES, labels, strict=True)
    }


@pytest.mark.parametrize(
    ("folders", "sites"),
    [
        (["st1\\visit 1", "st1\\visit 2", "st2\\visit 1"], ["st1", "st1", "st2"]),
        (["st1\\DCIM\\100MEDIA", "st1\\DCIM\\101MEDIA", "st2\\DCIM\\100MEDIA"], ["st1", "st1", "st2"]),
        (["2019\\st1", "2019\\st2", "2020\\st2"], ["st1", "st2", "st2"]),
        (["north\\a", "north\\b", "north\\b"], ["a", "b", "b"]),
        (["st1\\a", "st1\\a", "st1\\a"], ["st1", "st1", "st1"]),
        (["", "", ""], ["Photos", "Photos", "Photos"]),
        (["", "st1", "st2"], ["Photos", "st1", "st2"]),
        (["NA", "st1", "st2"], ["Photos", "st1", "st2"]),
    ],
)
def test_the_site_is_the_first_folder_that_tells_images_apart(tmp_path, folders, sites):
    lines = [f"Photos,{n}.jpg,{folder},2019-05-31 14:02:11,false,Fox" for n, folder in enumerate(folders)]
    paths = [
        f"{'' if folder == 'NA' else folder}/{n}.jpg".lstrip("/").replace("\\", "/")
        for n, folder in enumerate(folders)
    ]
    put(tmp_path, {**dict.fromkeys(paths, ""), "all.csv": export(*lines)})
    found = read(tmp_path)
    assert found.images["site"].tolist() == sites
    assert f"sites are the folders of relativepath, as {sites[0]!r}" in found.notes


def test_a_column_of_sites_is_taken_where_it_is_named_or_filled_in_every_row(tmp_path):
    filled = [f"{row},{name}" for row, name in zip(rows(), "abab", strict=True)]
    put(tmp_path, {**PICTURES, "all.csv": export(*filled, header=f"{HEADER},Species,Station")})
    assert read(tmp_path).images["site"].tolist() == ["a", "b", "a", "b"]
    put(tmp_path, {"all.csv": export(*filled[:3], f"{rows()[3]},", header=f"{HEADER},Species,Station")})
    assert read(tmp_path).images["site"].tolist() == ["st1", "st1", "st2", "st2"]
    assert read(tmp_path, columns={"site": "station"}).images["site"].tolist() == ["a", "b", "a", None]


def test_an_old_export_without_relative_paths_lies_in_its_folder(tmp_path):
    header = "File,Folder,Date,Time,ImageQuality,Species"
    lines = [f"{n}.jpg,StationA,31-May-2019,14:02:1{n},Ok,{('Fox', 'Owl')[n]}" for n in range(2)]
    put(tmp_path, {"0.jpg": "", "1.jpg": "", "all.csv": export(*lines, header=header)})
    found = read(tmp_path)
    assert found.labels == {"0.jpg": "Fox", "1.jpg": "Owl"}
    assert found.images["site"].tolist() == ["StationA", "StationA"]
    assert found.images["time"].tolist() == ["31-May-2019 14:02:10", "31-May-2019 14:02:11"]


# --- rows that are no labelled images -----------------------------------------------------------------------


def test_rows_that_are_marked_as_deleted_go_to_quarantine_though_their_files_are_gone(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(flags=("false", "TRUE", "1", "False")))})
    (tmp_path / "st2" / "1.jpg").unlink()
    found = read(tmp_path)
    assert found.quarantined == {"st1/2.jpg": "deleted", "st2/1.jpg": "deleted"}
    assert "all.csv, line 3 says so" in found.details


def test_videos_among_the_files_go_to_quarantine_and_stop_nothing(tmp_path, call_script):
    records = drawn_set(tmp_path)
    table = write_timelapse(tmp_path / "TimelapseData.csv", records)
    videos = [f"Photos,{n}.AVI,north_gate,2019-05-31 14:02:11,false,wild boar\n" for n in range(8)]
    put(tmp_path, {f"north_gate/{n}.AVI": b"RIFF\0\0\0\0AVI " for n in range(8)})
    table.write_text(table.read_text() + "".join(videos))
    flags = ["--processes", 1, "--short-side", 16]
    done = call_script("prepare.py", "--input", tmp_path, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    ids, summary = prepared(tmp_path / "out")
    assert set().union(*ids.values()) == {record.path for record in records}
    assert summary["quarantined"] == {"video": 8}


def test_rows_without_a_file_and_those_of_files_that_are_gone_are_quarantined(tmp_path):
    more = ["Photos,,st1,2019-05-31 14:02:11,false,Fox", "Photos,9.jpg,st1,2019-05-31 14:02:11,false,Owl"]
    put(tmp_path, {**PICTURES, "all.csv": export(*rows(), *more)})
    assert read(tmp_path).quarantined == {"all.csv, line 6": "missing", "st1/9.jpg": "missing"}


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        (export(*rows(), header=f"{HEADER},Tier"), {},
         r"all\.csv: has no column of labels that is known \(.*: RootFolder, .*, Tier\).*label=COLUMN"),
        (export(*rows(), header=f"{HEADER},Tier"), {"label": "Teir"},
         r"--columns label=Teir: all\.csv has no such column \(.*\); is Tier meant\?"),
        (export(*rows(flags=("false", "maybe", "", ""))), {},
         r"all\.csv: line 3: 'maybe' in its column DeleteFlag is neither true nor false"),
        (export("Photos,x.jpg,st9,2019-05-31 14:02:11,false,Fox"), {},
         r"all\.csv: none of its 1 images is in .*'st9/x\.jpg'.*--media DIR"),
    ],
)  # fmt: skip
def test_an_export_that_cannot_be_read_is_refused_by_name(tmp_path, table, columns, message):
    put(tmp_path, {**PICTURES, "all.csv": table})
    with pytest.raises(TraplineError, match=message):
        read(tmp_path, columns=columns)


def test_a_folder_without_an_export_has_not_the_layout_that_is_asked_for(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": "path,label\nst1/1.jpg,fox\n"})
    with pytest.raises(UsageError, match=r"--layout timelapse: .* a CSV of Timelapse"):
        read(tmp_path, reading=Reading(layout="timelapse"))


def test_counters_are_prepared_by_a_command(tmp_path, call_script):
    records = drawn_set(tmp_path / "photos")
    names = ["wild boar", "red deer", "empty"]
    table = write_timelapse(tmp_path / "TimelapseData.csv", records, labels=names)
    columns = [f"label={name}" for name in names]
    flags = ["--media", tmp_path / "photos", "--processes", 1, "--short-side", 16, "--columns", *columns]
    done = call_script("prepare.py", "--input", table, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    ids, _ = prepared(tmp_path / "out")
    assert ids["unlabeled"] == {record.path for record in records if record.label is None}
    wrong = call_script(
        "prepare.py", "--input", table, "--output", tmp_path / "no", *flags, "label=wild bear"
    )
    assert wrong.returncode == 2
    assert "--columns 'label=wild bear'" in wrong.stderr or "--columns label=wild bear" in wrong.stderr
    assert "is wild boar meant?" in wrong.stderr
