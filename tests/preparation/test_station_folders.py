"""Folders in folders: which level is the camera, and which the label."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.disk import prepared, put, read
from tests.support.written_sets import drawn_set, write_folders, write_mapped_csv
from trapline.errors import TraplineError, UsageError
from trapline.preparation.folder_names import has_station_word, looks_like_label, looks_like_station
from trapline.preparation.known_division import group_key
from trapline.preparation.listing import Reading

STATIONS, CODES, PLACES = ("Station01", "Station02"), ("vj_ga_hu_1", "vj_ga_hu_2"), ("north gate", "ridge")
SPECIES, NAMES = ("fox", "empty"), ("Vulpes", "Sus scrofa")


def grid(first, second, between="", before="", file="{n}.jpg"):
    """Two empty files in each of the folders of `second` in each of those of `first`."""
    return {
        f"{before}{a}/{between}{b}/{file.format(n=n, first=a, second=b)}": ""
        for a in first
        for b in second
        for n in (1, 2)
    }


def said(found):
    return {(row.site, found.labels[name]) for name, row in found.images.iterrows()}


def pairs(sites, labels):
    return {(site, label) for site in sites for label in labels}


# --- what is written is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "levels",
    [
        "site/label",
        "label/site",
        "site/label/sequence",
        "site/sequence/label",
        "site/*/label",
        "*/site/label",
    ],
)
def test_a_set_that_is_written_in_folders_is_read_back_by_their_levels(tmp_path, levels):
    records = drawn_set(tmp_path / "drawn")
    written = write_folders(tmp_path / "drawn", tmp_path / "raw", records, levels.replace("*", "DCIM"))
    found = read(tmp_path / "raw", reading=Reading(folders=levels))
    assert found.labels == {path: record.label for path, record in written.items()}
    assert found.images["site"].to_dict() == {path: record.site for path, record in written.items()}
    assert found.quarantined == {}
    if "sequence" in levels:
        sequences = found.images["sequence"]
        for path, record in written.items():
            together = [other for other in written if sequences[other] == sequences[path]]
            assert {written[other].sequence for other in together} == {record.sequence}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=2, max_size=8),
        min_size=4, max_size=4, unique_by=group_key,
    )
)  # fmt: skip
def test_any_words_are_sites_and_labels_where_a_person_says_the_levels(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("raw")
    put(folder, grid(names[:2], names[2:]))
    found = read(folder, reading=Reading(folders="site/label"))
    assert len(found.images) + len(found.quarantined) == 8
    for name, row in found.images.iterrows():
        assert group_key(name.split("/")[0]) == group_key(row.site)
    assert len(read(folder, reading=Reading(folders="*/label")).images) == len(found.images)


# --- what is found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sites", [STATIONS, CODES, ("1", "2"), ("CAM-3", "CAM-4"), ("camera east", "camera b")]
)
@pytest.mark.parametrize("labels", [SPECIES, NAMES])
def test_stations_above_species_are_told_by_their_names(tmp_path, sites, labels):
    found = read(put(tmp_path, grid(sites, labels)))
    assert said(found) == pairs(sites, labels)
    assert "folders are read as site/label (2 sites)" in found.notes


@pytest.mark.parametrize("sites", [STATIONS, CODES])
@pytest.mark.parametrize("labels", [SPECIES, NAMES])
def test_stations_below_species_are_told_by_their_names(tmp_path, sites, labels):
    found = read(put(tmp_path, grid(labels, sites)))
    assert said(found) == pairs(sites, labels)
    assert "folders are read as label/site (2 sites)" in found.notes


@pytest.mark.parametrize(
    ("first", "second", "file"),
    [
        (PLACES, NAMES, "{first}__2009-04-21__00-40-00({n}).JPG"),
        (NAMES, PLACES, "{second}_20090421_{n}.JPG"),
    ],
)
def test_stations_are_told_by_the_names_and_dates_of_files(tmp_path, first, second, file):
    assert said(read(put(tmp_path, grid(first, second, file=file)))) == pairs(PLACES, NAMES)


def test_known_words_for_labels_tell_that_the_folders_above_are_cameras(tmp_path):
    assert said(read(put(tmp_path, grid(PLACES, SPECIES)))) == pairs(PLACES, SPECIES)


@pytest.mark.parametrize("between", ["DCIM/", "DCIM/100MEDIA/", "2021-05-04/", "visit 2/100RECNX/"])
def test_folders_of_cards_dates_and_visits_are_neither_sites_nor_labels(tmp_path, between):
    assert said(read(put(tmp_path, grid(STATIONS, NAMES, between)))) == pairs(STATIONS, NAMES)


def test_each_station_may_have_species_of_its_own(tmp_path):
    put(tmp_path, {"Station01/Vulpes/1.jpg": "", "Station02/Sus/1.jpg": "", "Station03/Lepus/1.jpg": ""})
    assert read(tmp_path).classes == ["Lepus", "Sus", "Vulpes"]


def test_the_folder_of_the_one_camera_gives_its_site(tmp_path):
    found = read(put(tmp_path, grid(["StationA"], NAMES)))
    assert said(found) == pairs(["StationA"], NAMES)
    assert "all of site 'StationA', as the folder is called" in found.notes


@pytest.mark.parametrize("second", [("1", "2"), ("batch 1", "batch 2"), ("adult", "juvenile")])
def test_folders_in_classes_that_tell_no_camera_count_for_nothing_and_the_way_out_is_said(tmp_path, second):
    found = read(put(tmp_path, grid(SPECIES, second)))
    assert said(found) == pairs([None], SPECIES)
    assert "if they are cameras, say --folders label/site" in found.notes


@pytest.mark.parametrize("files", [grid(NAMES, ("a", "b"))])
def test_levels_that_nothing_tells_are_refused_with_both_readings(tmp_path, files):
    with pytest.raises(
        TraplineError, match=r"--folders site/label or --folders label/site, or --folders label"
    ):
        read(put(tmp_path, files))
    assert said(read(tmp_path, reading=Reading(folders="label"))) == pairs([None], NAMES)
    assert said(read(tmp_path, reading=Reading(layout="class-folders"))) == pairs([None], NAMES)


@pytest.mark.parametrize(
    "files",
    [
        {"Station01/1.jpg": "", "Station02/1.jpg": ""},
        {"ridge/DCIM/100MEDIA/1.jpg": "", "gate/DCIM/101MEDIA/1.jpg": ""},
    ],
)
def test_cameras_without_folders_of_labels_never_pass_for_classes(tmp_path, files):
    with pytest.raises(TraplineError, match=r"look like cameras.*--label-tag TAG.*--folders site"):
        read(put(tmp_path, files))


def test_dates_above_all_are_no_classes(tmp_path):
    put(tmp_path, grid(STATIONS, SPECIES, before="2021-05/") | grid(STATIONS, SPECIES, before="2021-06/"))
    with pytest.raises(TraplineError, match=r"dates, visits or cards.*--folders '\*/site/label'"):
        read(tmp_path)
    assert said(read(tmp_path, reading=Reading(folders="*/site/label"))) == pairs(STATIONS, SPECIES)


# --- what a person says -------------------------------------------------------------------------------------


def test_what_a_person_says_goes_before_names(tmp_path):
    put(tmp_path, grid(STATIONS, SPECIES))
    assert said(read(tmp_path, reading=Reading(folders="label/site"))) == pairs(SPECIES, STATIONS)


@pytest.mark.parametrize(("before", "site"), [("my set/", "Station01"), ("", "Station01")])
def test_a_folder_around_all_is_no_level_where_images_lie_deeper(tmp_path, before, site):
    put(tmp_path, grid(["Station01"], SPECIES, before=before))
    found = read(tmp_path, reading=Reading(folders="site/label"))
    assert said(found) == pairs([site], SPECIES)


def test_images_without_a_folder_of_a_label_are_quarantined_and_unlabelled_ones_are_not(tmp_path):
    others = {
        "Station01/loose.jpg": "", "top.jpg": "", "Station01/fox/film.mp4": "", "Station01/notes.txt": "",
        "Station01/fox/1.xmp": "", "Station02/unlabeled/u.jpg": "", "unlabeled/Station09/z.jpg": "",
    }  # fmt: skip
    found = read(put(tmp_path, grid(STATIONS, SPECIES) | others), reading=Reading(folders="site/label"))
    assert found.quarantined == {
        "Station01/loose.jpg": "unknown_label", "top.jpg": "unknown_label",
        "Station01/fox/film.mp4": "video",
    }  # fmt: skip
    unlabelled = {name for name, label in found.labels.items() if label is None}
    assert unlabelled == {"Station02/unlabeled/u.jpg", "unlabeled/Station09/z.jpg"}
    assert found.images["site"]["unlabeled/Station09/z.jpg"] == "Station09"
    assert "1 file beside the images is none and is not read, as 'Station01/notes.txt'" in found.notes


def test_a_camera_made_folder_is_no_label_where_one_is_said(tmp_path):
    put(tmp_path, grid(STATIONS, SPECIES) | {"Station01/DCIM/1.jpg": ""})
    found = read(tmp_path, reading=Reading(folders="site/label"))
    assert found.quarantined == {"Station01/DCIM/1.jpg": "unknown_label"}


def test_folders_of_sites_alone_are_unlabelled_images_with_sites(tmp_path):
    put(tmp_path, {"ridge/DCIM/1.jpg": "", "gate/1.jpg": ""})
    found = read(tmp_path, reading=Reading(folders="site", among_others=True))
    assert said(found) == {("ridge", None), ("gate", None)}


def test_an_input_without_folders_of_labels_is_unlabelled_beside_others_alone(tmp_path):
    put(tmp_path, {"ridge/1.jpg": "", "gate/1.jpg": ""})
    found = read(tmp_path, reading=Reading(folders="site/label", among_others=True))
    assert said(found) == {("ridge", None), ("gate", None)}
    assert "all are unlabelled" in found.notes
    with pytest.raises(
        TraplineError, match=r"no image lies in a folder of a label, for instance 'gate/1.jpg'"
    ):
        read(tmp_path, reading=Reading(folders="site/label"))


def test_one_class_alone_is_refused_with_the_option_that_says_otherwise(tmp_path):
    put(tmp_path, {"ridge/a/fox/1.jpg": "", "gate/a/fox/1.jpg": ""})
    with pytest.raises(TraplineError, match=r"only one class \(a\).*--folders site/label"):
        read(tmp_path, reading=Reading(folders="site/label"))


@pytest.mark.parametrize("option", [{"folders": "site/label"}, {"label_tag": "Species"}])
@pytest.mark.parametrize("layout", ["class-folders", "parts"])
def test_other_layouts_refuse_what_only_these_take(tmp_path, option, layout):
    put(tmp_path, {"train/fox/1.jpg": "", "train/owl/1.jpg": "", "val/fox/1.jpg": ""})
    with pytest.raises(UsageError, match=rf"the input lies as {layout}; leave it out"):
        read(tmp_path, reading=Reading(layout=layout, **option))


def test_names_of_parts_are_levels_where_a_person_says_so(tmp_path):
    found = read(put(tmp_path, grid(("train", "val"), SPECIES)), reading=Reading(folders="site/label"))
    assert "the folders train and val are read as level site, and not as a split" in found.notes


def test_links_that_lead_out_and_names_in_other_encodings_are_not_lost(tmp_path):
    put(tmp_path / "raw", grid(STATIONS, SPECIES))
    put(tmp_path / "elsewhere", {"1.jpg": "", "in/2.jpg": ""})
    (tmp_path / "raw" / "Station01" / "fox" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "raw" / "Station01" / "linked").symlink_to(tmp_path / "elsewhere" / "in")
    (tmp_path / "raw" / "Station02" / "fox" / os.fsdecode(b"caf\xe9.jpg")).write_text("")
    found = read(tmp_path / "raw")
    assert found.quarantined == {"Station01/fox/link.jpg": "outside", "Station01/linked": "outside"}
    assert len(found.images) == 9


def test_one_file_in_two_classes_by_a_link_is_ambiguous(tmp_path):
    put(tmp_path, grid(STATIONS, SPECIES))
    (tmp_path / "Station01" / "empty" / "again.jpg").symlink_to("../fox/1.jpg")
    found = read(tmp_path)
    assert found.quarantined == {
        "Station01/empty/again.jpg": "ambiguous_label", "Station01/fox/1.jpg": "ambiguous_label",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "word", "station", "label"),
    [
        ("Station01", True, True, False), ("site_A", True, True, False), ("camera ridge", True, True, False),
        ("A12", False, True, False), ("vj_ga_hu_1", False, True, False), ("class_3", False, False, False),
        ("n01443537", False, False, False), ("camel", False, False, True), ("red_fox", False, False, True),
        ("Wild boars", False, False, True), ("Empty", False, False, True), ("12", False, False, False),
    ],
)  # fmt: skip
def test_names_look_like_stations_or_labels(name, word, station, label):
    assert (has_station_word(name), looks_like_station(name), looks_like_label(name)) == (
        word,
        station,
        label,
    )


# --- samples, and the command -------------------------------------------------------------------------------


def test_the_sample_of_camtrapr_is_read_by_its_levels_and_by_itself(real_data):
    folder = real_data / "formats" / "camtrapR" / "species_dir"
    said_so, found = read(folder, reading=Reading(folders="site/label")), read(folder)
    assert said(said_so) == said(found) == {("StationA", "PBE"), ("StationA", "VTA")}
    assert len(said_so.images) == len(found.images) == 8


def test_frames_that_are_named_by_their_sites_stay_class_folders(real_data):
    found = read(real_data / "camera_traps_norway")
    assert found.classes == ["cricetidae", "empty", "lem_lem", "mus_erm"]
    assert "folders are read" not in found.notes


def test_the_command_divides_stations_and_predicts_for_others(tmp_path, call_script):
    records = drawn_set(tmp_path / "drawn")
    write_folders(tmp_path / "drawn", tmp_path / "sorted", records, "site/label")
    put(tmp_path / "new", {"pass/DCIM/1.jpg": 90, "ford/2.jpg": 91})
    done = call_script(
        "prepare.py", "--input", tmp_path / "sorted", tmp_path / "new", "--folders", "site/label",
        "--output", tmp_path / "out", "--processes", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ids, summary = prepared(tmp_path / "out")
    assert {"pass/DCIM/1.jpg", "ford/2.jpg"} <= ids["unlabeled"]
    parts = [{name.split("/")[0] for name in ids[part]} for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 3
    assert any("folders are read as site/label" in note for note in summary["notes"])


@pytest.mark.parametrize("given", ["", "/all.csv"])
def test_the_command_takes_folders_of_cameras_beside_a_table_of_labels(tmp_path, call_script, given):
    records = drawn_set(tmp_path / "sorted")
    columns = {"path": "path", "label": "label", "site": "site"}
    write_mapped_csv(tmp_path / "sorted" / "all.csv", records, **columns)
    put(tmp_path / "new", {"pass/DCIM/1.jpg": 90, "ford/2.jpg": 91})
    done = call_script(
        "prepare.py", "--input", f"{tmp_path / 'sorted'}{given}", tmp_path / "new", "--folders", "site",
        "--output", tmp_path / "out", "--processes", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ids, _ = prepared(tmp_path / "out")
    assert len(ids["unlabeled"]) == 5
    assert len(ids["train"] | ids["val"] | ids["test"]) == 21


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("site/species", "has the level 'species'; a level is one of site, label, sequence, *"),
        ("site/site", "has the level site twice"),
    ],
)
def test_the_command_refuses_levels_that_are_none(tmp_path, call_script, levels, message):
    done = call_script("prepare.py", "--input", tmp_path, "--output", tmp_path / "out", "--folders", levels)
    assert done.returncode == 2
    assert message in done.stderr
