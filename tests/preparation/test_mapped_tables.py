"""A CSV that names images and labels in columns of any name."""

import functools
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.support.disk import prepared, put, read
from tests.support.written_sets import drawn_set, write_mapped_csv
from trapline.column_names import KNOWN
from trapline.errors import TraplineError, UsageError
from trapline.job_options import PrepareOptions
from trapline.names import Kind, keys
from trapline.preparation import mapped_tables
from trapline.preparation.facts import is_nothing
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listing import Reading
from trapline.preparation.media import Media
from trapline.preparation.raw_input import _columns
from trapline.storage import restored

USUAL = {"path": "path", "label": "label", "site": "site", "sequence": "sequence", "time": "datetime"}
OTHER = {"path": "Datei", "label": "Tierart", "site": "Ort", "sequence": "Serie", "time": "Zeit"}
NAMED = {"filepath": "Datei", "label": "Tierart", "site": "Ort", "sequence": "Serie", "time": "Zeit"}
QUOTE = '"'
PICTURES = {"cam_a/1.jpg": "", "cam_a/2.jpg": "", "cam_b/1.jpg": "", "cam_b/2.jpg": ""}
ROWS = "cam_a/1.jpg,fox\ncam_a/2.jpg,owl\ncam_b/1.jpg,fox\ncam_b/2.jpg,\n"


def said(found):
    """What was read of each image: label, site, sequence, time."""
    labels = found.labels
    return {
        name: (labels[name], row.site, row.sequence, getattr(row, "time", None))
        for name, row in found.images.iterrows()
    }


# --- what is written is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("names", "columns"), [(USUAL, {}), (OTHER, NAMED)], ids=["usual", "named"])
def test_a_set_that_is_written_as_csv_is_read_back(tmp_path, delimiter, names, columns):
    records = drawn_set(tmp_path)
    write_mapped_csv(tmp_path / "all.csv", records, delimiter, **names)
    found = read(tmp_path, columns=columns)
    assert said(found) == {r.path: (r.label, r.site, r.sequence, r.time) for r in records}
    assert found.classes == ["empty", "red deer", "wild boar"]
    assert found.quarantined == {}


@pytest.mark.parametrize("above", ["", "D:\\data\\cards\\", "/mnt/cards/", ".\\"])
def test_windows_paths_and_paths_below_folders_that_are_gone_find_their_images(tmp_path, above):
    records = drawn_set(tmp_path)
    write_mapped_csv(tmp_path / "all.csv", records, backslashes=True, above=above, **USUAL)
    found = read(tmp_path)
    assert [row.site for row in found.images.itertuples()] == [record.site for record in records]
    assert found.quarantined == {}
    assert ("without the first" in found.notes) == (above not in ("", ".\\"))


def test_a_table_that_is_given_itself_names_images_in_another_folder(tmp_path):
    records = drawn_set(tmp_path / "photos")
    (tmp_path / "tables").mkdir()
    table = write_mapped_csv(tmp_path / "tables" / "sheet.tsv", records, "\t", **USUAL)
    reading = Reading(table=table, media=InputFolder(tmp_path / "photos"))
    assert set(read(tmp_path / "tables", reading=reading).images.index) == {r.path for r in records}


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda word: restored(word) == word
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(NAMES, min_size=4, max_size=4), sites=st.lists(NAMES, min_size=4, max_size=4))
def test_any_words_for_labels_and_sites_are_read_as_they_are(tmp_path, labels, sites):
    put(tmp_path, PICTURES)
    rows = zip(PICTURES, labels, sites, strict=True)
    quoted = [",".join(f'"{cell.replace(QUOTE, QUOTE * 2)}"' for cell in row) for row in rows]
    put(tmp_path, {"all.csv": "\n".join(["path,label,site", *quoted])})
    found = read(tmp_path)
    assert found.quarantined == {}
    assert keys(found.labels.values(), Kind.CLASS) == keys(map(spoken, labels), Kind.CLASS)
    if any(map(spoken, sites)):
        assert keys(found.images["site"], Kind.SITE) == keys(map(spoken, sites), Kind.SITE)


def spoken(word):
    return None if is_nothing(word) else word


# --- which columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "image_name,scientific_name,Deployment ID,date_time,Event ID",
        "IMG,Common Name,placename,Timestamp,burst",
        "file_path,species_name,station,EventDate,sequence_id",
        "Photo,Species,Camera,DateTimeOriginal,seq",
    ],
)
def test_the_usual_names_of_columns_are_known(tmp_path, header):
    put(tmp_path, {**PICTURES, "all.csv": f"{header}\ncam_a/1.jpg,fox,s,2024-05-01 10:00:00,e\n"})
    assert said(read(tmp_path)) == {"cam_a/1.jpg": ("fox", "s", "e", "2024-05-01 10:00:00")}


def test_ranks_of_a_taxonomy_are_no_labels_where_a_whole_name_stands_beside_them(tmp_path):
    header = "filename,class,order,family,genus,species,common_name"
    put(
        tmp_path,
        {**PICTURES, "all.csv": f"{header}\ncam_a/1.jpg,Mammalia,Carnivora,Felidae,Panthera,onca,jaguar\n"},
    )
    assert read(tmp_path).classes == ["jaguar"]


def test_the_page_on_data_lists_the_names_of_columns_that_are_known():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    listed = {known: tuple(names.split(", ")) for known, names in rows if known in {"path", *KNOWN}}
    assert listed == {{"filepath": "path"}.get(known, known): names for known, names in KNOWN.items()}


def test_a_column_of_folders_stands_before_names_of_files(tmp_path):
    put(tmp_path, PICTURES)
    rows = ["Station,Species,Directory,FileName", "A,fox,C:/raw/cam_a,1.jpg", "B,owl,C:/raw/cam_b,1.jpg"]
    put(tmp_path, {"records.csv": "\n".join(rows)})
    found = read(tmp_path)
    assert sorted(found.images["path"]) == [f"{tmp_path}/cam_{site}/1.jpg" for site in "ab"]
    assert sorted(found.images["site"]) == ["A", "B"]


def test_several_rows_and_several_columns_of_labels_give_an_image_several(tmp_path):
    rows = "cam_a/1.jpg,fox,\ncam_a/1.jpg,owl,\ncam_b/1.jpg,fox,hare\ncam_b/2.jpg,owl,NA\n"
    put(tmp_path, {**PICTURES, "all.csv": f"path,first,second\n{rows}"})
    found = read(tmp_path, columns={"label": "first", "label 2": "second"})
    assert found.labels == {
        "cam_a/1.jpg": {"fox", "owl"}, "cam_b/1.jpg": {"fox", "hare"}, "cam_b/2.jpg": {"owl"},
    }  # fmt: skip
    assert found.quarantined == {}


@pytest.mark.parametrize("cells", [
    ["fox;red deer", "owl", "red deer", ""],
    ["fox, red deer", "owl", "red deer", "NA"],
    ['"[""fox"", ""red deer""]"', '"[""owl""]"', '"[""red deer""]"', "[]"],
])  # fmt: skip
def test_a_column_of_several_labels_a_cell_is_divided_where_it_is_named(tmp_path, cells):
    quoted = [f'"{cell}"' if "," in cell and not cell.startswith('"') else cell for cell in cells]
    rows = [f"{path},{cell},whole" for path, cell in zip(PICTURES, quoted, strict=True)]
    put(tmp_path, {**PICTURES, "all.csv": "\n".join(["path,seen,label", *rows])})
    found = read(tmp_path, columns={"labels": "seen"})
    assert list(found.labels.values()) == [{"fox", "red deer"}, {"owl"}, {"red deer"}, set()]
    assert "seen holds any number of labels a cell, as" in found.notes
    assert "not read, though known as labels or sites: label" in found.notes
    assert read(tmp_path).labels == dict.fromkeys(PICTURES, "whole")


def test_columns_of_one_and_of_several_labels_are_read_together(tmp_path):
    rows = "cam_a/1.jpg,fox;owl,hare\ncam_a/2.jpg,owl,\ncam_b/1.jpg,,hare\ncam_b/2.jpg,fox,fox\n"
    put(tmp_path, {**PICTURES, "all.csv": f"path,seen,first\n{rows}"})
    found = read(tmp_path, columns={"labels": "seen", "label": "first"})
    assert list(found.labels.values()) == [{"fox", "owl", "hare"}, {"owl"}, {"hare"}, {"fox"}]


def test_a_column_called_labels_is_no_list_where_its_words_are_no_columns(tmp_path):
    rows = "cam_a/1.jpg,fox,red fox,1\ncam_a/2.jpg,owl,owl,0\ncam_b/1.jpg,fox,fox,1\ncam_b/2.jpg,owl,owl,0\n"
    put(tmp_path, {**PICTURES, "all.csv": f"path,label,labels,fox\n{rows}"})
    assert list(read(tmp_path).labels.values()) == ["fox", "owl", "fox", "owl"]


def test_options_name_several_columns_of_labels_and_one_of_all_else():
    options = PrepareOptions(input="x", output="y", columns=("label=a", "path=p", "label=b"))
    assert _columns(options) == {"label": "a", "filepath": "p", "label 2": "b"}
    with pytest.raises(ValueError, match="names site twice; only label may stand in several columns"):
        PrepareOptions(input="x", output="y", columns=("site=a", "site=b"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "Speceis"}, r"--columns label=Speceis: all\.csv has no such column \(its columns: path, "
         r"species, where\); is species meant\?"),
        ({"label 2": "xyzzy"}, r"--columns label=xyzzy: all\.csv has no such column \(.*\)$"),
        ({"filepath": "paht"}, r"--columns path=paht: all\.csv has no such column .*; is path meant\?"),
    ],
)  # fmt: skip
def test_a_named_column_that_is_not_there_is_refused_with_the_closest(tmp_path, columns, message):
    put(tmp_path, {**PICTURES, "all.csv": f"path,species,where\n{ROWS.replace(chr(10), ',x' + chr(10))}"})
    with pytest.raises(UsageError, match=message):
        read(tmp_path, columns=columns)


def test_of_several_inputs_one_need_not_have_a_column_that_is_named(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": f"path,species\n{ROWS}"})
    found = read(tmp_path, columns={"label": "Tierart"}, reading=Reading(among_others=True))
    assert found.classes == ["fox", "owl"]
    assert (
        "--columns label=Tierart: all.csv has no such column; the usual names are looked for" in found.notes
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", r"all\.csv: has no column of paths that is known \(its columns: a, b\).*path="),
        ("path,b\n1,2\n", r"all\.csv: has no column of labels that is known \(.*: path, b\).*label="),
        ("path,label\nx.jpg,fox\n", r"all\.csv: none of its 1 images is in .*'x\.jpg' \(no such.*--media"),
        ("path,label\ncam_a/1.jpg,fo\x07x\n", r"all\.csv: the class 'fo\\x07x' holds U\+0007"),
        ("path,label\n", r"all\.csv: names no image: no row has a path; fill its column of paths"),
        ("path,label\n ,fox\n", r"all\.csv: names no image: no row has a path"),
        ("path,label\nclip.mp4,fox\n", r"all\.csv: none of its 1 images .* \(a video, which is not read"),
        ('path,label\ncam_a/1.jpg,"fox\n', r"all\.csv: not a readable CSV.*mend the quotes"),
        ("path,label\0\ncam_a/1.jpg,fox\n", r"all\.csv: not a readable CSV \(it holds zero bytes\)"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused_by_name(tmp_path, table, message):
    put(tmp_path, {**PICTURES, "clip.mp4": "", "all.csv": table})
    with pytest.raises(TraplineError, match=message):
        read(tmp_path, reading=Reading(table=tmp_path / "all.csv"))


def test_columns_of_0_and_1_are_no_columns_of_labels(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": "path,fox,owl\ncam_a/1.jpg,1,0\ncam_a/2.jpg,0,1\n"})
    with pytest.raises(TraplineError, match=r"its columns fox and owl hold 1 and 0.*NAME_features\.csv"):
        read(tmp_path, columns={"label": "fox", "label 2": "owl"})


@pytest.mark.parametrize("option", [{"folders": "site/label"}, {"label_tag": "Species"}])
def test_options_that_say_labels_otherwise_go_with_no_table(tmp_path, option):
    put(tmp_path, {**PICTURES, "all.csv": f"path,label\n{ROWS}"})
    with pytest.raises(UsageError, match="a table says labels and sites itself; leave it out"):
        read(tmp_path, reading=Reading(table=tmp_path / "all.csv", **option))


def test_numbers_are_classes_in_their_order(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": "path,label\ncam_a/1.jpg,10\ncam_a/2.jpg,9\ncam_b/1.jpg,-1\n"})
    assert read(tmp_path).classes == ["-1", "9", "10"]


# --- which folders a table is read in -----------------------------------------------------------------------


def test_class_folders_that_the_labels_name_stay_class_folders(tmp_path):
    put(tmp_path, {"fox/1.jpg": "", "owl/1.jpg": "", "owl/2.jpg": ""})
    put(tmp_path, {"all.csv": "path,label,site\nfox/1.jpg,Fox,a\nowl/1.jpg,owl,b\n"})
    found = read(tmp_path)
    assert found.labels == {"fox/1.jpg": "fox", "owl/1.jpg": "owl", "owl/2.jpg": "owl"}
    assert found.images["site"].to_dict() == {"fox/1.jpg": "a", "owl/1.jpg": "b", "owl/2.jpg": None}
    assert set(read(tmp_path, reading=Reading(layout="csv")).images.index) == {"fox/1.jpg", "owl/1.jpg"}


def test_class_folders_below_parts_that_the_labels_name_stay_so(tmp_path):
    put(tmp_path, {f"{part}/{label}/1.jpg": "" for part in ("train", "val") for label in ("fox", "owl")})
    put(tmp_path, {"all.csv": "path,label\ntrain/fox/1.jpg,fox\n"})
    assert len(read(tmp_path).images) == 4


def test_images_in_flat_parts_keep_the_split_that_their_folders_are(tmp_path):
    put(tmp_path, {f"{part}/{n}.jpg": "" for part in ("train", "test") for n in range(2)})
    rows = [f"{part}/{n}.jpg,{('fox', 'owl')[n]}" for part in ("train", "test") for n in range(2)]
    put(tmp_path, {"all.csv": "\n".join(["path,label", *rows])})
    found = read(tmp_path)
    assert found.images["given"].tolist() == ["train", "train", "test", "test"]
    assert found.images["site"].isna().all()
    assert "the parts of the split are the folders of the images" in found.notes


@pytest.mark.parametrize("below", ["", "DCIM/100MEDIA/", "2024-05-01/", "visit 1/101_PANA/"])
@pytest.mark.parametrize("above", ["", "images/", "project/"])
def test_a_folder_for_each_camera_is_its_site_where_the_table_names_none(tmp_path, above, below):
    paths = [f"{above}cam_{site}/{below}{n}.jpg" for site in "abc" for n in range(2)]
    rows = [f"{path},{('fox', 'owl')[number % 2]}" for number, path in enumerate(paths)]
    put(tmp_path, {**dict.fromkeys(paths, ""), "all.csv": "\n".join(["path,label", *rows])})
    found = read(tmp_path)
    assert found.images["site"].to_dict() == {path: re.search(r"cam_.", path)[0] for path in paths}
    assert "sites are the folders of cameras, as 'cam_a' for" in found.notes
    assert "(3 in all); --columns site=COLUMN or --site-regex says otherwise" in found.notes


def test_folders_of_one_label_each_are_classes_in_other_words_and_no_cameras(tmp_path):
    put(tmp_path, {"vulpes/1.jpg": "", "vulpes/2.jpg": "", "strix/1.jpg": ""})
    put(tmp_path, {"all.csv": "path,label\nvulpes/1.jpg,fox\nvulpes/2.jpg,fox\nstrix/1.jpg,owl\n"})
    found = read(tmp_path)
    assert found.images["site"].isna().all()
    assert "no sites: each folder has images of one label alone, as 'vulpes'" in found.notes


def test_a_table_with_no_column_of_labels_leaves_class_folders_as_they_are(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "all.csv": "path,site\nfox/a.jpg,n\nowl/b.jpg,s\n"})
    assert read(tmp_path).classes == ["fox", "owl"]


def test_a_table_of_other_images_leaves_class_folders_as_they_are(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "all.csv": "path,label\nelse/x.jpg,hare\n"})
    found = read(tmp_path)
    assert found.classes == ["fox", "owl"]
    assert "all.csv: names none of the images; not read" in found.notes


def test_a_misspelt_column_never_makes_classes_of_cameras(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": f"path,Tierart\n{ROWS}"})
    with pytest.raises(UsageError, match="is Tierart meant"):
        read(tmp_path, columns={"label": "Tieratr"})


# --- which image a row means --------------------------------------------------------------------------------


def test_a_look_into_folders_finds_what_a_look_at_each_file_finds(tmp_path):
    folder = put(
        tmp_path / "in", {"a/1.jpg": "", "a/b/2.jpg": "", "C:\\x.jpg": "", "a:b/3.jpg": "", "a\\4.jpg": ""}
    )
    put(tmp_path / "out", {"5.jpg": ""})
    for link, target in (
        ("a/in.jpg", "1.jpg"),
        ("a/out.jpg", "../../out/5.jpg"),
        ("c", "a"),
        ("d", "../out"),
    ):
        (folder / link).symlink_to(target)
    names = [
        "a/1.jpg", "a/b/2.jpg", "a//1.jpg", "./a/1.jpg", "a/../a/1.jpg", "../in/a/1.jpg", "a/", "", " ", "a",
        "..", "a\\1.jpg", "a\\4.jpg", "C:\\x.jpg", "a:b/3.jpg", "a/in.jpg", "a/out.jpg", "c/1.jpg", "d/5.jpg",
        "a\0/1.jpg", "a/1.jpg\0", "a\ud800/1.jpg", "a/\ud800.jpg", f"{'y' * 5000}/1.jpg", "A/1.jpg",
        f"a/{'y' * 300}.jpg", "/etc/passwd", f"{folder}/a/1.jpg",
    ]  # fmt: skip
    found = Media(InputFolder(folder)).find(names, "all.csv")
    assert {name: place.problem or place.file for name, place in found.items()} == {
        name: found_alone(InputFolder(folder), name) for name in names
    }


def found_alone(folder, name):
    try:
        return folder.identity(folder.find(name))
    except NotInside as problem:
        return problem.reason, problem.detail


def test_a_name_alone_is_the_one_file_of_that_name(tmp_path):
    put(tmp_path, {"a/x.jpg": "", "b/y.jpg": "", "b/z.jpg": "", "c/z.jpg": ""})
    put(tmp_path, {"all.csv": "file,label\nx.jpg,fox\ny.jpg,owl\nz.jpg,owl\n"})
    found = read(tmp_path)
    assert found.images["path"].to_dict() == {"x.jpg": f"{tmp_path}/a/x.jpg", "y.jpg": f"{tmp_path}/b/y.jpg"}
    assert found.quarantined == {"z.jpg": "missing"}


def test_folders_are_not_left_out_where_that_would_make_one_image_of_two(tmp_path):
    put(tmp_path, {"1.jpg": "", "all.csv": "path,label\nold/a/1.jpg,fox\nold/b/1.jpg,owl\n"})
    with pytest.raises(TraplineError, match="none of its 2 images"):
        read(tmp_path)


def test_addresses_are_named_and_not_fetched(tmp_path):
    rows = "https://x.org/cam_a/seen.jpg,fox\nhttps://x.org/gone.jpg,owl\nhttp://[bad/x.jpg,owl\n"
    put(tmp_path, {"photos/seen.jpg": "", "all.csv": f"url,species\n{rows}"})
    found = read(tmp_path)
    assert found.labels == {"https://x.org/cam_a/seen.jpg": "fox"}
    assert set(found.quarantined.values()) == {"outside"}
    assert "nothing is fetched from the web" in found.details


def test_images_in_s3_are_fetched(tmp_path, monkeypatch):
    def fetch(uri, target):
        return put(target.parent, {target.name: uri}) / target.name

    monkeypatch.setattr(mapped_tables, "Media", functools.partial(Media, fetch_one=fetch))
    rows = [f"s3://b/cam_{site}/{n}.jpg,{('fox', 'owl')[n]}" for site in "ab" for n in range(2)]
    put(tmp_path / "in", {"all.csv": "\n".join(["path,label", *rows])})
    found = read(tmp_path / "in", reading=Reading(copies=tmp_path / "copies"))
    assert found.images["site"].tolist() == ["cam_a", "cam_a", "cam_b", "cam_b"]
    assert Path(found.images["path"].iloc[0]).read_text() == "s3://b/cam_a/0.jpg"


def test_images_that_no_row_names_are_counted(tmp_path):
    put(
        tmp_path,
        {**PICTURES, "cam_b/notes.txt": "", "all.csv": "path,label\ncam_a/1.jpg,fox\ncam_b/1.jpg,owl\n"},
    )
    found = read(tmp_path)
    assert "2 images are named by no row of all.csv and are not read, as 'cam_a/2.jpg'" in found.notes
    assert len(found.images) == 2


# --- rows that are wrong ------------------------------------------------------------------------------------


def test_no_row_is_lost(tmp_path):
    rows = [
        "cam_a/1.jpg,fox,n", "cam_a/2.jpg,owl,n", "cam_a/2.jpg,owl,s", ",fox,n", "  ,owl,n", "../x.jpg,fox,n",
        "gone.jpg,owl,n", "cam_b/1.jpg,NA,n", "=1+1,fox,n", "/etc/passwd,owl,n", "cam_b/2.jpg,fox,a\x07b",
        f"{'x' * 5000}.jpg,fox,n", "clip.MP4,fox,n",
    ]  # fmt: skip
    put(tmp_path, {**PICTURES, "clip.MP4": "", "all.csv": "\n".join(["path,label,site", *rows])})
    found = read(tmp_path)
    assert found.labels == {"cam_a/1.jpg": "fox", "cam_b/1.jpg": None}
    assert found.quarantined == {
        "cam_a/2.jpg": "contradictory", "all.csv, line 5": "missing", "all.csv, line 6": "missing",
        "../x.jpg": "outside", "gone.jpg": "missing", "=1+1": "missing", "/etc/passwd": "outside",
        "cam_b/2.jpg": "bad_name", f"{'x' * 5000}.jpg": "missing", "clip.MP4": "video",
    }  # fmt: skip
    assert "site 'n' (all.csv, line 3) and 's' (all.csv, line 4)" in found.details
    assert "1 cells say 'NA' as label and are read as none" in found.notes


def test_rows_that_are_marked_as_deleted_go_to_quarantine_for_that(tmp_path):
    table = "path,label,gone\ncam_a/1.jpg,fox,no\ncam_a/2.jpg,owl,YES\ncam_b/1.jpg,,1\ncam_b/2.jpg,owl,\n"
    put(tmp_path, {**PICTURES, "all.csv": table})
    found = read(tmp_path, columns={"deleted": "gone"})
    assert found.quarantined == {"cam_a/2.jpg": "deleted", "cam_b/1.jpg": "deleted"}
    put(tmp_path, {"all.csv": table.replace("YES", "perhaps")})
    with pytest.raises(TraplineError, match=r"all\.csv: line 3: 'perhaps' in its column gone is neither"):
        read(tmp_path, columns={"deleted": "gone"})


def test_an_id_that_tells_images_apart_is_theirs_and_one_of_rows_is_not(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": "id,path,label\n7,cam_a/1.jpg,fox\n8,cam_b/1.jpg,owl\n"})
    assert set(read(tmp_path).images.index) == {"7", "8"}
    put(tmp_path, {"all.csv": "id,path,label\n1,cam_a/1.jpg,fox\n2,cam_a/1.jpg,owl\n3,cam_b/1.jpg,owl\n"})
    found = read(tmp_path)
    assert set(found.images.index) == {"cam_a/1.jpg", "cam_b/1.jpg"}
    assert "its column id does not tell images apart" in found.notes
    assert read(tmp_path, columns={"id": "id"}).quarantined == {"1": "contradictory"}


def test_answers_of_a_model_beside_the_labels_are_not_read(tmp_path):
    put(tmp_path, {**PICTURES, "all.csv": f"path,label\n{ROWS}", "predictions.csv": f"path,label\n{ROWS}"})
    found = read(tmp_path)
    assert "predictions.csv: not read, for by its name it holds answers" in found.notes
    assert found.classes == ["fox", "owl"]


def test_several_tables_are_read_together(tmp_path):
    put(tmp_path, {**PICTURES, "train.csv": "path,label\nold/cam_a/1.jpg,fox\nold/cam_a/2.jpg,owl\n",
                   "test.csv": "path\ncam_b/1.jpg\n", "sites.csv": "file,site\ncam_a/1.jpg,n\n",
                   "foreign.csv": "path,site\nelse/1.jpg,x\n"})  # fmt: skip
    found = read(tmp_path)
    assert found.labels == {"old/cam_a/1.jpg": "fox", "old/cam_a/2.jpg": "owl", "cam_b/1.jpg": None}
    assert "foreign.csv: names none of the images; not read" in found.notes


# --- by command ---------------------------------------------------------------------------------------------


def test_a_table_with_columns_of_any_name_is_prepared_by_a_command(tmp_path, call_script):
    records = drawn_set(tmp_path / "photos")
    table = write_mapped_csv(tmp_path / "sheet.csv", records, ";", **OTHER)
    columns = [f"{known}={name}" for known, name in OTHER.items()]
    flags = ["--media", tmp_path / "photos", "--processes", 1, "--short-side", 16, "--columns", *columns]
    done = call_script("prepare.py", "--input", table, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    ids, _ = prepared(tmp_path / "out")
    assert set().union(*ids.values()) == {record.path for record in records}
    assert ids["unlabeled"] == {record.path for record in records if record.label is None}
    wrong = call_script("prepare.py", "--input", table, "--output", tmp_path / "no", *flags, "colour=x")
    assert wrong.returncode == 2
    assert "is no pair as in path=filename" in wrong.stderr


def test_photographs_with_times_in_their_table_are_read(real_data):
    found = read(real_data / "camera_traps_exif")
    assert len(found.images) == 117
    assert found.images["time"].notna().all()
    assert "Cougars" in found.classes


def test_photographs_in_class_folders_that_their_table_names_stay_in_them(real_data):
    norway, cats = read(real_data / "camera_traps_norway"), read(real_data / "cats_dogs")
    assert (len(norway.images), norway.images["site"].nunique()) == (300, 3)
    assert "labels.csv: read for 300 images" in norway.notes
    assert cats.classes == ["cat", "dog"]
    assert set(cats.images["given"]) == {"train", "val", "test"}


def test_in_the_labels_that_camtraptools_writes_an_empty_name_is_blank(tmp_path):
    header = "filePath,scientificName,genus,family,order,class\n"
    rows = "cam_a/1.jpg,Vulpes vulpes,Vulpes,,,\ncam_a/2.jpg,,,,,\ncam_b/1.jpg,,,,,\n"
    put(tmp_path, {**PICTURES, "labels.csv": header + rows})
    found = read(tmp_path)
    assert found.labels == {"cam_a/1.jpg": "Vulpes vulpes", "cam_a/2.jpg": "blank", "cam_b/1.jpg": "blank"}
    assert "by CamTrapTools, where an empty scientificName is blank" in found.notes


def test_in_any_other_table_an_empty_label_is_none(tmp_path):
    put(tmp_path, {**PICTURES, "labels.csv": "filePath,scientificName\ncam_a/1.jpg,fox\ncam_a/2.jpg,\n"})
    assert read(tmp_path).labels == {"cam_a/1.jpg": "fox", "cam_a/2.jpg": None}
