import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from tests.support.camtrap_packages import TAXONOMY, predictions_of, settings, sheet_row
from tests.support.predictions import CLASSES, drawn_predictions
from tests.support.table_schema import faults_of_package, read_cells
from trapline.errors import TraplineError
from trapline.formats.camtrap_dp import CAMTRAP_DP
from trapline.formats.camtrap_media import media_ids, media_path, media_type
from trapline.formats.taxonomy import Taxon

TIME = "2024-05-12T14:00:00+02:00"
PATTERN = re.compile(r"^(?=^[^./~])(^((?!\.{2}).)*$).*$")  # of filePath in media-table-schema.json
LEFT_OUT = "camtrap-dp-without-time.csv"


@pytest.fixture
def written(tmp_path):
    """Write predictions of a few rows: the rows of media and of observations, by the id of the image."""

    def writer(rows, sheet=None, *, timezone=None, labels=None, taxonomy=None, project=None):
        (tmp_path / "out").mkdir(exist_ok=True)
        rows = [{"site": "north gate", "time": TIME, **row} for row in rows]
        own = settings(
            tmp_path, sheet or [sheet_row()], timezone=timezone, taxonomy=taxonomy, project=project
        )
        CAMTRAP_DP.write(predictions_of(rows, labels=labels), tmp_path / "out", own)
        return tables(tmp_path / "out")

    return writer


def tables(folder):
    """The media by their ids, and the observations by those of their media."""
    media = {row["mediaID"]: row for row in read_cells(folder / "camtrap-dp" / "media.csv")}
    seen = {}
    for row in read_cells(folder / "camtrap-dp" / "observations.csv"):
        seen.setdefault(row["mediaID"], []).append(row)
    return media, seen


def refused(written, *arguments, **options):
    """What is said of what is not written."""
    with pytest.raises(TraplineError) as caught:
        written(*arguments, **options)
    return str(caught.value)


def refusal(predictions, folder, own):
    """What is said of what is not written, None where it is."""
    try:
        CAMTRAP_DP.write(predictions, folder, own)
    except TraplineError as error:
        return str(error)
    return None


# --- what is written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("strange", [False, True])
def test_tables_hold_what_the_schemas_of_the_standard_demand(tmp_path, real_data, multilabel, strange):
    own = settings(tmp_path, timezone="Europe/Oslo")
    predictions = drawn_predictions(multilabel=multilabel, strange=strange, gaps=False)
    CAMTRAP_DP.check(predictions.classes, predictions.task, own)
    paths = CAMTRAP_DP.write(predictions, tmp_path, own)
    assert [path.name for path in paths] == [
        "datapackage.json", "deployments.csv", "media.csv", "observations.csv",
    ]  # fmt: skip
    schemas = real_data / "formats" / "camtrap_dp" / "1.0.2"
    assert faults_of_package(tmp_path / "camtrap-dp", schemas) == []


def test_the_descriptor_holds_what_the_profile_of_the_standard_demands(tmp_path, real_data):
    jsonschema = pytest.importorskip("jsonschema")
    text = (real_data / "formats" / "camtrap_dp" / "1.0.2" / "camtrap-dp-profile.json").read_text()
    for outside in ("https://specs.frictionlessdata.io/schemas/data-package.json",
                    "http://json.schemastore.org/geojson.json"):  # fmt: skip
        text = text.replace(outside, "#/definitions/anything")
    profile = json.loads(text) | {"definitions": {"anything": {}}}
    own = settings(tmp_path, timezone="Europe/Oslo")
    CAMTRAP_DP.write(drawn_predictions(gaps=False), tmp_path, own)
    package = json.loads((tmp_path / "camtrap-dp" / "datapackage.json").read_text())
    checker = jsonschema.Draft4Validator(profile, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in checker.iter_errors(package)] == []


def test_equal_input_gives_equal_bytes(tmp_path):
    own = settings(tmp_path, timezone="+02:00")
    predictions = drawn_predictions(gaps=False, multilabel=True)
    first = [path.read_bytes() for path in CAMTRAP_DP.write(predictions, tmp_path, own)]
    assert first == [path.read_bytes() for path in CAMTRAP_DP.write(predictions, tmp_path, own)]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_medium_has_its_file_deployment_and_time_and_is_not_public(written):
    media, _ = written([{"file": "gate/A 1.JPG"}])
    assert {name: cell for name, cell in media["i0"].items() if cell} == {
        "mediaID": "i0", "deploymentID": "d1", "captureMethod": "activityDetection", "timestamp": TIME,
        "filePath": "gate/A 1.JPG", "filePublic": "false", "fileName": "A 1.JPG",
        "fileMediatype": "image/jpeg",
    }  # fmt: skip


def test_an_observation_says_what_the_model_saw_and_how_sure_it_is(written):
    _, seen = written([{"label": 1, "confidence": 0.8765432}])
    (own,) = seen["i0"]
    assert {name: cell for name, cell in own.items() if cell} == {
        "observationID": "i0_1", "deploymentID": "d1", "mediaID": "i0", "eventStart": TIME, "eventEnd": TIME,
        "observationLevel": "media", "observationType": "animal", "scientificName": "Cervus elaphus",
        "classificationMethod": "machine", "classifiedBy": "field-model-3 (abababababab)",
        "classificationTimestamp": "2025-03-04T05:06:07+00:00", "classificationProbability": "0.876543",
    }  # fmt: skip


def test_what_is_no_animal_has_its_type_and_the_name_of_people_alone(written):
    taxonomy = {**TAXONOMY, "person": Taxon("human", "Homo sapiens", "species"), "fox": Taxon("unknown")}
    _, seen = written([{"label": label} for label in range(len(CLASSES))], taxonomy=taxonomy)
    assert [(own[0]["observationType"], own[0]["scientificName"]) for own in seen.values()] == [
        ("blank", ""), ("animal", "Cervus elaphus"), ("animal", "Sus scrofa"), ("human", "Homo sapiens"),
        ("vehicle", ""), ("unknown", ""),
    ]  # fmt: skip


def test_images_in_doubt_and_those_that_failed_are_media_and_unclassified(written):
    media, seen = written([{"confidence": 0.3}, {"status": "failed", "reason": "truncated"}])
    assert list(media) == ["i0", "i1"]
    (doubtful,), (failed,) = seen["i0"], seen["i1"]
    assert {doubtful["observationType"], failed["observationType"]} == {"unclassified"}
    assert (doubtful["classificationMethod"], failed["classificationMethod"]) == ("machine", "")
    assert (doubtful["classificationProbability"], failed["classificationProbability"]) == ("", "")
    assert failed["observationComments"] == "not classified: truncated"


def test_an_image_of_several_labels_has_an_observation_of_each_and_one_of_none_is_unclassified(written):
    labels = np.zeros((2, len(CLASSES)), dtype=bool)
    labels[0, [1, 3]] = True
    _, seen = written([{"label": 1}, {}], labels=labels)
    assert [(own["observationID"], own["observationType"]) for own in seen["i0"]] == [
        ("i0_1", "animal"), ("i0_2", "human"),
    ]  # fmt: skip
    assert [own["observationType"] for own in seen["i1"]] == ["unclassified"]


def test_a_sequence_is_an_event_from_its_first_to_its_last_image(written):
    times = ("2024-05-12T14:00:05+02:00", "2024-05-12T12:00:01Z", "2024-05-12T14:00:03+02:00")
    _, seen = written([{"sequence": "s", "time": time} for time in times] + [{}])
    assert {(own["eventID"], own["eventStart"], own["eventEnd"]) for (own,) in list(seen.values())[:3]} == {
        ("s", "2024-05-12T12:00:01+00:00", "2024-05-12T14:00:05+02:00")
    }
    assert (seen["i3"][0]["eventID"], seen["i3"][0]["eventStart"]) == ("", TIME)


def test_a_sequence_of_one_name_at_two_deployments_is_two_events(written):
    sheet = [sheet_row(), sheet_row("d2", "ridge")]
    rows = [{"sequence": "1"}, {"sequence": "1", "site": "ridge"}, {"sequence": "2"}, {"sequence": "NA"}]
    _, seen = written(rows, sheet)
    events = [own["eventID"] for (own,) in seen.values()]
    assert events[:3] == ["d1 1", "d2 1", "2"]
    assert re.fullmatch("[0-9a-f]{16}", events[3])


def test_all_deployments_are_written_those_without_images_too(written, tmp_path):
    written([{}], [sheet_row(), sheet_row("d2", "ridge", latitude="62.5", longitude="11")])
    place = tmp_path / "out" / "camtrap-dp"
    assert [row["deploymentID"] for row in read_cells(place / "deployments.csv")] == ["d1", "d2"]
    package = json.loads((place / "datapackage.json").read_text())
    ring = [[10.25, 61.5], [11.0, 61.5], [11.0, 62.5], [10.25, 62.5], [10.25, 61.5]]
    assert package["spatial"] == {"type": "Polygon", "coordinates": [ring]}
    assert package["temporal"] == {"start": "2024-05-11", "end": "2024-06-11"}


def test_the_taxa_are_those_that_were_seen(written, tmp_path):
    written([{"label": 5}, {"label": 1}, {"label": 0}, {"label": 2, "confidence": 0.1}])
    package = json.loads((tmp_path / "out" / "camtrap-dp" / "datapackage.json").read_text())
    assert package["taxonomic"] == [
        {
            "scientificName": "Cervus elaphus",
            "taxonID": "QLXL",
            "taxonRank": "species",
            "order": "Artiodactyla",
        },
        {"scientificName": "Vulpes", "taxonRank": "genus", "family": "Canidae"},
    ]


def test_cells_that_a_spreadsheet_would_run_are_text_and_ids_stay_what_they_are(written, tmp_path):
    taxonomy = {**TAXONOMY, "red deer": Taxon("animal", "=cmd|x")}
    media, seen = written(
        [{"id": "=1", "file": "=1.jpg", "label": 1}],
        [sheet_row(habitat="=2+2", latitude="-1")],
        taxonomy=taxonomy,
    )
    assert (media["=1"]["filePath"], seen["=1"][0]["scientificName"]) == ("=1.jpg", "'=cmd|x")
    (row,) = read_cells(tmp_path / "out" / "camtrap-dp" / "deployments.csv")
    assert (row["habitat"], row["latitude"]) == ("'=2+2", "-1")


# --- times --------------------------------------------------------------------------------------------------


def test_a_time_without_offset_has_that_of_its_deployments_start_before_the_zone(written):
    sheet = [sheet_row(), sheet_row("d2", "ridge", "2024-05-11 00:00", "2024-06-11 00:00")]
    rows = [{"time": "2024-05-12T14:00:00", "site": site} for site in ("north gate", "ridge")]
    media, _ = written(rows, sheet, timezone="-03:00")
    assert [row["timestamp"] for row in media.values()] == [TIME, "2024-05-12T14:00:00-03:00"]


def test_a_camera_that_ran_past_the_end_of_summer_time_keeps_its_offset(written):
    sheet = [sheet_row(start="2024-10-01T00:00:00", end="2024-11-30T00:00:00")]
    media, _ = written([{"time": "2024-11-01T12:00:00.75"}], sheet, timezone="Europe/Oslo")
    assert media["i0"]["timestamp"] == "2024-11-01T12:00:00+02:00"


def test_a_wrong_clock_is_put_right_before_a_deployment_is_looked_for(written):
    clock = {"cameraTime": "2019-01-01T00:00:00", "actualTime": "2024-05-12T00:00:00"}
    rows = [{"time": "2019-01-01T01:00:00"}, {"time": "2019-01-01T00:00:00Z"}]
    media, _ = written(rows, [sheet_row(**clock)])
    assert [row["timestamp"] for row in media.values()] == [
        "2024-05-12T01:00:00+02:00", "2024-05-12T00:00:00+00:00",
    ]  # fmt: skip


def test_deployments_of_a_site_are_told_apart_by_time_and_the_next_has_their_common_second(written):
    sheet = [
        sheet_row("d1", end="2024-05-20T00:00:00+02:00"),
        sheet_row("d2", start="2024-05-20T00:00:00+02:00"),
    ]
    times = ("2024-05-19T23:59:59", "2024-05-20T00:00:00", "2024-06-11T00:00:00")
    media, _ = written([{"time": time} for time in times], sheet)
    assert [row["deploymentID"] for row in media.values()] == ["d1", "d2", "d2"]


def test_images_without_a_time_of_day_are_listed_beside_the_package(written, tmp_path, capsys):
    times = (None, "2024-05-12", "yesterday", TIME)
    media, _ = written([{"time": time, "site": None if time is None else "north gate"} for time in times])
    assert list(media) == ["i3"]
    assert [(row["id"], row["file"], row["reason"]) for row in read_cells(tmp_path / "out" / LEFT_OUT)] == [
        ("i0", "i0.jpg", "has no time"),
        ("i1", "i1.jpg", "of its time only the day is known (2024-05-12)"),
        ("i2", "i2.jpg", "its time 'yesterday' cannot be read"),
    ]
    assert "3 of 4 images are no media of camtrap-dp, as i0.jpg (has no time)" in capsys.readouterr().out
    written([{}])
    assert not (tmp_path / "out" / LEFT_OUT).exists()


# --- what is refused ----------------------------------------------------------------------------------------


def test_images_of_no_deployment_are_refused_by_name_the_first_ten_and_a_count(written, tmp_path):
    message = refused(written, [{"site": "the bog"} for _ in range(12)] + [{}])
    assert "12 of 13 images are of no deployment" in message
    assert "'i0.jpg' (its site 'the bog' has no row)" in message
    assert message.count("the bog") == 10
    assert "and 2 more" in message
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"site": None}, "'i0.jpg' (has no site)"),
        (
            {"time": "2024-07-01T00:00:00"},
            "(2024-07-01T00:00:00+02:00 is outside of 'd1', the deployment of 'north gate', "
            "2024-05-11T00:00:00+02:00 to 2024-06-11T00:00:00+02:00)",
        ),
        ({"time": "2024-07-01T00:00:00", "site": "two"}, "is in none of the 2 deployments of its site 'two'"),
        (
            {"time": "2024-05-15T00:00:00", "site": "two"},
            "its time is in 'd2' and 'd3', both of its site 'two'",
        ),
    ],
)
def test_why_an_image_is_of_no_deployment_is_said(written, row, said):
    sheet = [sheet_row(), sheet_row("d2", "two"), sheet_row("d3", "two", end="2024-05-20T00:00:00Z")]
    message = refused(written, [row], sheet)
    assert said in message
    assert "add rows or correct these, give cameraTime and actualTime" in message


def test_files_of_others_where_the_package_goes_are_kept(written, tmp_path):
    written([{}])
    (tmp_path / "out" / "camtrap-dp" / "notes.txt").write_text("mine")
    assert "holds 'notes.txt'" in refused(written, [{}])
    assert (tmp_path / "out" / "camtrap-dp" / "notes.txt").read_text() == "mine"
    (tmp_path / "out" / "camtrap-dp" / "notes.txt").rename(tmp_path / "out" / "camtrap-dp" / ".DS_Store")
    written([{}, {}])


def test_an_older_package_stays_where_a_new_one_cannot_be_written(written, tmp_path):
    written([{}])
    refused(written, [{"site": "the bog"}])
    assert len(read_cells(tmp_path / "out" / "camtrap-dp" / "media.csv")) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["camtrap-dp"]


# --- ids, paths and kinds of files --------------------------------------------------------------------------


def test_ids_that_are_fit_stay_and_others_are_made_of_id_and_file():
    ids = ["a", "NA", " b", "a", "", "c\nd", "e f"]
    found = media_ids(ids, [f"{number}.jpg" for number in range(7)])
    assert (found[0], found[6]) == ("a", "e f")
    assert len(set(found)) == 7
    assert all(re.fullmatch("[0-9a-f]{16}", own) for own in found[1:6])
    assert media_ids(["x", "x", "x"], ["one"] * 3) == media_ids(["x", "x", "x"], ["one"] * 3)


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("a/b.jpg", "a/b.jpg"), ("50%/ü.jpg", "50%/ü.jpg"), ("a..jpg", "a.%2Ejpg"),
        (".a/b.jpg", "%2Ea/b.jpg"),
        ("~b.jpg", "%7Eb.jpg"), ("a\nb%.jpg", "a%0Ab%25.jpg"), ("../a.jpg", "%2E%2E/a.jpg"), ("a./b", "a./b"),
    ],
)  # fmt: skip
def test_paths_stay_but_for_what_the_standard_refuses(file, path):
    assert media_path(file) == path
    assert PATTERN.fullmatch(path)


@given(st.text(min_size=1))
def test_every_path_fits_the_standard(file):
    assert PATTERN.fullmatch(media_path(file))


def test_the_kind_of_a_file_is_that_of_its_suffix_else_of_its_content(tmp_path):
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (tmp_path / "notes.txt").write_text("dear diary")
    assert media_type("a/b.JPEG", "") == "image/jpeg"
    assert media_type("clip.mp4", "") == "video/mp4"
    assert media_type("x", str(tmp_path / "x")) == "image/png"
    assert media_type("notes.txt", str(tmp_path / "notes.txt")) == ""
    assert media_type("gone", str(tmp_path / "gone")) == ""


def test_a_file_of_an_unknown_kind_is_left_out_and_listed(written, tmp_path):
    media, _ = written([{"file": "notes.txt", "status": "failed"}, {}])
    assert list(media) == ["i1"]
    (row,) = read_cells(tmp_path / "out" / LEFT_OUT)
    assert row["reason"] == "it is not known what kind of file this is"


# --- any rows -----------------------------------------------------------------------------------------------

TIMES = st.one_of(
    st.none(),
    st.sampled_from(["", "2024-05-12", "2024", "24:61", "20240512T101112", "2024-W20-1T10:00"]),
    st.datetimes(
        pd.Timestamp("2024-05-12").to_pydatetime(), pd.Timestamp("2024-06-10").to_pydatetime()
    ).flatmap(
        lambda time: st.sampled_from(["", "Z", "+02:00", "-09:30", "+0530", "+00:53:28"]).map(
            lambda offset: time.isoformat() + offset
        )
    ),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": TIMES,
            "site": st.sampled_from([None, "north gate", "North Gate ", "ridge", "d3", "nowhere"]),
            "sequence": st.one_of(st.none(), st.sampled_from(["1", "NA", "", "a\nb"])),
            "status": st.sampled_from(["ok", "ok", "failed"]),
            "label": st.integers(0, len(CLASSES) - 1),
            "confidence": st.floats(0, 1),
        },
        optional={"id": st.text(max_size=3), "file": st.text(min_size=1, max_size=5)},
    ),
    max_size=12,
)


@trials(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, many=st.booleans(), data=st.data())
def test_every_image_is_a_medium_or_listed_once_or_all_are_refused(tmp_path, real_data, rows, many, data):
    shape = (len(rows), len(CLASSES))
    flat = data.draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    predictions = predictions_of(rows, labels=np.array(flat, dtype=bool).reshape(shape) if many else None)
    sheet = [sheet_row(), sheet_row("d2", "ridge"), sheet_row("d3", "the bog")]
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    said = refusal(predictions, folder, settings(tmp_path, sheet))
    if said is not None:
        assert any(row["site"] in (None, "nowhere") for row in rows), said
        return
    schemas = real_data / "formats" / "camtrap_dp" / "1.0.2"
    assert faults_of_package(folder / "camtrap-dp", schemas) == []
    media, seen = tables(folder)
    listed = read_cells(folder / LEFT_OUT) if (folder / LEFT_OUT).exists() else []
    assert len(media) + len(listed) == len(rows)
    assert set(seen) == set(media)
