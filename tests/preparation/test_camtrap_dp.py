import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.sources import column, labels, prepared_rows, quarantined
from tests.support.written_sets import drawn_set, write_camtrap_dp, write_rows
from trapline.errors import TraplineError, UsageError
from trapline.preparation import camtrap_events
from trapline.preparation.camtrap_events import NOWHERE, Observed, Taken, instants, links
from trapline.preparation.division import require_classes
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import TIME, Reading, SiteRule
from trapline.preparation.sources import read_source

MACHINES = Reading(machine_labels=True)
PROFILE = "https://raw.githubusercontent.com/tdwg/camtrap-dp/{}/camtrap-dp-profile.json"


def deployment(own="d1", location="l1", latitude="50.0", longitude="5.0"):
    return {"deploymentID": own, "locationID": location, "latitude": latitude, "longitude": longitude}


def medium(own, time="2024-05-31T14:00:00Z", deployment="d1", path=None, kind="image/jpeg", name=""):
    return {
        "mediaID": own, "deploymentID": deployment, "timestamp": time, "filePath": path or f"{own}.jpg",
        "fileName": name, "fileMediatype": kind,
    }  # fmt: skip


def seen(own, name="Sus scrofa", kind="animal", event="", method="human"):
    return {
        "deploymentID": "d1", "mediaID": own, "eventID": event, "eventStart": "", "eventEnd": "",
        "observationLevel": "media", "observationType": kind, "scientificName": name,
        "classificationMethod": method,
    }  # fmt: skip


def of_event(event, start, end, name="Cervus elaphus", kind="animal", method="human", deployment="d1"):
    return {
        **seen("", name, kind, event, method), "deploymentID": deployment, "observationLevel": "event",
        "eventStart": f"2024-05-31T{start}" if start else "", "eventEnd": f"2024-05-31T{end}" if end else "",
    }  # fmt: skip


@pytest.fixture
def package(tmp_path):
    """Write the three tables, an empty file for each path of media, and read them."""

    def reader(media, observations, deployments=None, *, reading=None, described=None):
        for name, rows in (
            ("media", media), ("observations", observations or [seen("nobody")]),
            ("deployments", deployments or [deployment()]),
        ):  # fmt: skip
            write_rows(tmp_path / f"{name}.csv", rows)
        for row in media:
            if "://" not in row["filePath"]:
                (tmp_path / row["filePath"]).touch()
        (tmp_path / "datapackage.json").write_text(
            json.dumps({"profile": PROFILE.format("1.0")} if described is None else described)
        )
        return read_source(tmp_path, SiteRule(), reading=reading)

    return reader


# --- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["media", "event"])
@pytest.mark.parametrize("itself", [False, True])
def test_a_set_that_was_written_so_is_read_back(tmp_path, level, itself):
    records = [record for record in drawn_set(tmp_path) if record.label or level == "media"]
    write_camtrap_dp(tmp_path, records, level)
    reading = Reading(table=tmp_path / "datapackage.json") if itself else None
    source = read_source(tmp_path, SiteRule(), reading=reading)
    written = ("blank" if record.label == "empty" else record.label for record in records)
    assert labels(source) == {f"m{number}": label for number, label in enumerate(written)}
    for name, own in (("site", "site"), ("sequence", "sequence"), ("filepath", "path")):
        assert source.images[name].tolist() == [getattr(record, own) for record in records]
    assert source.images[TIME].tolist() == [f"{record.time}+02:00" for record in records]
    assert (source.quarantined, source.barred, source.notes, source.undecided) == ([], {}, [], False)


def test_the_label_is_the_scientific_name_else_the_type_and_unclassified_says_nothing(package):
    kinds = ("animal", "human", "vehicle", "blank", "unknown", "unclassified", "")
    media = [medium(f"m{number}") for number in range(len(kinds) + 2)]
    observations = [seen(f"m{number}", "", kind) for number, kind in enumerate(kinds)]
    source = package(media, [*observations, seen("m7", "NA", "Blank")])
    assert labels(source) == {
        "m0": "animal", "m1": "human", "m2": "vehicle", "m3": "blank", "m4": "unknown", "m5": None,
        "m6": None, "m7": "blank", "m8": None,
    }  # fmt: skip


def test_several_species_are_several_labels_and_one_twice_is_one(package):
    source = package(
        [medium("a"), medium("b")], [seen("a"), seen("a", "Vulpes vulpes"), seen("a"), seen("b"), seen("b")]
    )
    assert labels(source) == {"a": ("Sus scrofa", "Vulpes vulpes"), "b": ("Sus scrofa",)}
    assert source.undecided


def test_observations_of_a_medium_go_before_those_of_its_event(package):
    media = [medium("a"), medium("b"), medium("c", "2024-05-31T15:00:00Z")]
    event = of_event("e", "14:00:00Z", "14:00:00Z")
    source = package(media, [event, seen("a", event="e"), seen("b", "", "unclassified")])
    assert labels(source) == {"a": "Sus scrofa", "b": "Cervus elaphus", "c": None}
    assert column(source, "sequence") == {"a": "e", "b": "e", "c": None}


def test_an_event_is_of_the_media_that_name_it_whenever_they_were_taken(package):
    media = [medium("a", "2020-01-01T00:00:00Z"), medium("b", "2020-01-01T00:00:00Z")]
    source = package(
        media, [of_event("e", "14:00:00Z", "14:00:10Z"), seen("a", "", "unclassified", event="e")]
    )
    assert labels(source) == {"a": "Cervus elaphus", "b": None}


def test_times_are_compared_as_instants_and_both_ends_of_an_event_are_in_it(package):
    times = ("14:00:00+02:00", "12:00:10Z", "11:59:59Z", "12:00:10.5Z", "07:00:05-05:00")
    media = [medium(f"m{number}", f"2024-05-31T{time}") for number, time in enumerate(times)]
    source = package(media, [of_event("e", "12:00:00Z", "16:00:10+04:00")])
    assert [own for own, label in labels(source).items() if label] == ["m0", "m1", "m4"]


def test_events_of_another_deployment_are_not_meant(package):
    media = [medium("a"), medium("b", deployment="d2"), medium("c", deployment="")]
    events = [of_event("e", "14:00:00Z", "14:00:00Z", deployment=own) for own in ("d2", "")]
    source = package(media, events, [deployment(), deployment("d2", "l2")])
    assert labels(source) == {"a": None, "b": "Cervus elaphus", "c": None}


def test_an_event_of_one_name_in_two_deployments_is_two(package):
    media = [medium("a"), medium("b", deployment="d2")]
    own = [seen(name, "", "unclassified", "e") for name in "ab"]
    own[1]["deploymentID"] = "d2"
    source = package(media, [*own, of_event("e", "", "")], [deployment(), deployment("d2", "l2")])
    assert labels(source) == {"a": "Cervus elaphus", "b": None}


def test_a_medium_of_several_events_has_the_one_it_names_else_the_first(package):
    media = [medium("a"), medium("b")]
    events = [
        of_event("late", "13:59:59Z", "14:00:01Z"),
        of_event("early", "13:00:00Z", "15:00:00Z", "Capra"),
    ]
    source = package(media, [*events, seen("a", event="late")])
    assert column(source, "sequence") == {"a": "late", "b": "early"}
    assert labels(source) == {"a": ("Sus scrofa",), "b": ("Capra", "Cervus elaphus")}
    assert source.notes == [
        "observations.csv: 2 media are of several events, and each is taken for one of the first"
    ]


def test_a_machines_observations_are_no_truth_unless_asked_for(package):
    media = [medium("a"), medium("b"), medium("c")]
    observations = [seen("a", method="machine"), seen("b", method="Machine"), seen("b", "Vulpes vulpes")]
    assert labels(package(media, observations)) == {"a": None, "b": "Vulpes vulpes", "c": None}
    source = package(media, observations, reading=MACHINES)
    assert labels(source) == {"a": "Sus scrofa", "b": "Vulpes vulpes", "c": None}
    assert source.notes == []


def test_labels_of_a_machine_alone_are_refused_with_the_way_out(package):
    source = package([medium("a")], [seen("a", method="machine")])
    assert labels(source) == {"a": None}
    with pytest.raises(TraplineError, match=r"at least two classes; observations\.csv: 1 .*--machine-labels"):
        require_classes(source.classes, source.of_machines)


def test_how_many_observations_of_a_machine_were_left_out_is_said(package):
    (note,) = package([medium("a"), medium("b")], [seen("a", method="machine"), seen("b")]).notes
    assert note.startswith("observations.csv: 1 observations are a machine's and no truth; --machine-labels")


def test_the_site_is_the_location_else_the_coordinates_and_never_the_deployment(package):
    places = [
        ("d1", "l1", "50", "5"), ("d2", "l1", "60", "6"), ("d3", "", "51.50", "4.7000"),
        ("d4", "", "51.5", "4.7"), ("d5", "NA", "91", "5"), ("d6", "", "", ""), ("d7", "", "50.0", "5.0"),
        ("d8", "", "nan", "5"), ("d9", "", "-0.0", "1e-9"),
    ]  # fmt: skip
    media = [medium(own, deployment=own) for own, *_ in places]
    source = package(media, [seen(own) for own, *_ in places], [deployment(*place) for place in places])
    assert column(source, "site") == {
        "d1": "l1", "d2": "l1", "d3": "51.5,4.7", "d4": "51.5,4.7", "d5": None, "d6": None, "d7": "l1",
        "d8": None, "d9": "0,0",
    }  # fmt: skip
    assert "deployments.csv: 3 deployments have neither locationID nor coordinates: no site" in source.notes


def test_coordinates_that_two_locations_share_name_neither(package):
    deployments = [deployment("d1", "l1"), deployment("d2", "l2"), deployment("d3", "")]
    source = package([medium("a", deployment="d3")], [seen("a")], deployments)
    assert column(source, "site") == {"a": "50,5"}


def test_addresses_are_found_by_the_name_of_the_file_and_never_fetched(package, tmp_path):
    (tmp_path / "media").mkdir()
    for name in ("RCNX0001.JPG", "own.jpg"):
        (tmp_path / "media" / name).touch()
    media = [
        medium("a", path="https://example.org/assets/1/file", name="RCNX0001.JPG"),
        medium("b", path="https://example.org/assets/own.jpg?size=large"),
        medium("c", path="https://example.org/assets/3/file", name="RCNX0003.JPG"),
    ]
    source = package(media, [seen(own) for own in "abc"])
    assert [path.rpartition("/")[2] for path in source.images["path"]] == ["RCNX0001.JPG", "own.jpg"]
    assert quarantined(source)["c"][0] == "outside"


def test_two_media_that_could_be_one_file_are_both_quarantined(package, tmp_path):
    (tmp_path / "IMG_1.JPG").touch()
    media = [medium(own, path=f"https://example.org/{own}/file", name="IMG_1.JPG") for own in "ab"]
    source = package([*media, medium("c")], [seen(own) for own in "abc"])
    assert labels(source) == {"c": "Sus scrofa"}
    assert {row.reason for row in source.quarantined} == {"contradictory"}


def test_tables_lie_where_the_package_says_in_parts_or_packed(package, tmp_path):
    package([medium("a"), medium("b")], [seen("a"), seen("b", "Vulpes vulpes")])
    (tmp_path / "tables").mkdir()
    rows = (tmp_path / "media.csv").read_text().splitlines()
    for number, row in enumerate(rows[1:]):
        (tmp_path / "tables" / f"media{number}.csv").write_text(f"{rows[0]}\n{row}\n")
    with gzip.open(tmp_path / "tables" / "seen.csv.gz", "wb") as file:
        file.write((tmp_path / "observations.csv").read_bytes())
    (tmp_path / "media.csv").unlink()
    (tmp_path / "observations.csv").unlink()
    resources = [
        {"name": "media", "path": ["tables/media0.csv", "tables/media1.csv"]},
        {"name": "observations", "path": "tables/seen.csv.gz"},
        {"name": "deployments", "path": "deployments.csv"},
        {"name": "individuals", "path": "https://example.org/individuals.csv"},
        {"name": 5},
        "nonsense",
    ]
    (tmp_path / "datapackage.json").write_text(json.dumps({"resources": resources}))
    assert labels(read_source(tmp_path, SiteRule())) == {"a": "Sus scrofa", "b": "Vulpes vulpes"}


def test_three_tables_of_the_usual_names_need_no_description(package, tmp_path):
    package([medium("a")], [seen("a")])
    (tmp_path / "datapackage.json").unlink()
    assert labels(read_source(tmp_path, SiteRule())) == {"a": "Sus scrofa"}


def test_a_package_in_a_folder_alone_is_found_there(tmp_path):
    records = drawn_set(tmp_path / "raw" / "package")
    write_camtrap_dp(tmp_path / "raw" / "package", records)
    assert len(read_source(tmp_path / "raw", SiteRule()).images) == len(records)


def test_class_folders_with_another_package_beside_them_stay_class_folders(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    for text in ('{"resources": [{"name": "photos", "path": "x.csv"}]}', "[]", "not JSON"):
        (tmp_path / "datapackage.json").write_text(text)
        assert read_source(tmp_path, SiteRule()).classes == ["cat", "dog"]


# --- what is wrong ------------------------------------------------------------------------------------------


def test_media_that_are_no_images_and_rows_without_id_or_path_are_quarantined(package):
    media = [
        medium("a"), medium("b", kind="Video/mp4", path="b.mp4"), medium("c", kind="audio/wav"),
        medium("", path="d.jpg"), medium("e", path="NA"),
    ]  # fmt: skip
    source = package(media, [seen("a"), seen("b")])
    assert labels(source) == {"a": "Sus scrofa"}
    assert [(row.id, row.reason, row.detail) for row in source.quarantined] == [
        ("b", "video", "media.csv, line 3: is 'Video/mp4', and no image"),
        ("c", "unsupported", "media.csv, line 4: is 'audio/wav', and no image"),
        ("d.jpg", "bad_name", "media.csv, line 5: has no mediaID"),
        ("e", "missing", "media.csv, line 6: has no filePath"),
    ]


def test_a_medium_of_an_observation_of_an_unknown_type_is_quarantined(package):
    source = package([medium("a"), medium("b")], [seen("a", "", "ghost"), seen("a"), seen("b")])
    assert labels(source) == {"b": "Sus scrofa"}
    reason, detail = quarantined(source)["a"]
    assert (reason, detail.partition(" is none of ")[0]) == (
        "unknown_label", "media.csv, line 2: the observationType 'ghost'",
    )  # fmt: skip


def test_an_id_of_two_files_is_quarantined_with_both(package):
    media = [medium("a"), medium("a", path="other.jpg"), medium("b")]
    source = package(media, [seen("a"), seen("a", "Vulpes vulpes"), seen("b")])
    assert labels(source) == {"b": ("Sus scrofa",)}
    assert [row.reason for row in source.quarantined] == ["duplicate_id", "duplicate_id"]


def test_what_fits_nowhere_is_said(package):
    media = [medium("a"), medium("b", "yesterday"), medium("c", deployment="d9")]
    observations = [
        seen("a"), seen("gone"), seen("a") | {"observationLevel": "herd"},
        of_event("e1", "20:00:00Z", "21:00:00Z"), of_event("e2", "14:00:01Z", "14:00:00Z"),
        of_event("", "", "x"),
    ]  # fmt: skip
    source = package(media, observations)
    assert labels(source) == {"a": "Sus scrofa", "b": None, "c": None}
    assert source.notes == [
        "observations.csv: 1 observationLevels are neither media nor event: read by their mediaID",
        "observations.csv: 1 observations are of media that are no images of it, as 'gone'",
        "observations.csv: 2 observations of events have no eventStart and eventEnd that can be read, one "
        "after the other",
        "media.csv: 1 timestamps cannot be read (ISO 8601, as 2024-05-31T14:02:11Z): these media are of no "
        "event by time",
        "observations.csv: 3 observations are of events without media, by eventID and by time",
        "media.csv: 1 rows have a deploymentID that is none of the deployments, as 'd9': no site",
    ]


def test_a_deployment_at_two_sites_is_refused_with_its_line(package):
    deployments = [deployment(), deployment("d2", "l2"), deployment("d1", "l2")]
    with pytest.raises(TraplineError, match=r"deployments\.csv, line 4: the deployment 'd1' is at two sites"):
        package([medium("a")], [seen("a")], deployments)
    assert column(package([medium("a")], [seen("a")], [deployment(), deployment()]), "site") == {"a": "l1"}


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"profile": PROFILE.format("0.1.6")}, "of version '0.1.6', and 1 is read; export it"),
        ({"profile": PROFILE.format("v2.0")}, "of version '2.0'"),
        (
            {"profile": 5, "resources": [{"name": each} for each in ("multimedia", "deployments", "media")]},
            "a version before 1",
        ),
        ({"resources": [{"name": "media", "path": "http://example.org/media.csv"}]}, "nothing is fetched"),
        ({"resources": [{"name": "media", "path": "../media.csv"}]}, "media.csv': .*outside the input"),
        ({"resources": [{"name": "media", "path": "/etc/passwd"}]}, "passwd': .*outside the input"),
        ({"resources": [{"name": "media", "path": "gone.csv"}]}, "'gone.csv': no such file; put it beside"),
        ({"resources": [{"name": "media", "path": 5}]}, "the path of its table media is no name of a file"),
        ({"resources": [{"name": "media", "path": []}]}, "the path of its table media is no name of a file"),
        ({"resources": [{"name": "media", "data": []}]}, "its table media stands in it as data"),
        ({"resources": [{"name": "media", "path": "deployments.csv"}]}, "deployments.csv: no column mediaID"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_read_is_refused_by_name(package, described, message):
    with pytest.raises(TraplineError, match=message):
        package([medium("a")], [seen("a")], described={"profile": PROFILE.format("1.0.2"), **described})


def test_a_broken_description_of_the_usual_tables_is_refused_by_name(package, tmp_path):
    package([medium("a")], [seen("a")])
    for text, message in (
        ("{", "datapackage.json: not valid JSON"),
        ("[]", "datapackage.json: is no object"),
    ):
        (tmp_path / "datapackage.json").write_text(text)
        with pytest.raises(TraplineError, match=message):
            read_source(tmp_path, SiteRule())


def test_a_table_without_a_column_that_is_needed_is_refused_by_name(package, tmp_path):
    package([medium("a")], [seen("a")])
    write_rows(tmp_path / "observations.csv", [{"deployment_id": "d1", "observation_type": "animal"}])
    with pytest.raises(TraplineError, match=r"observations\.csv: no column deploymentID .*deployment_id"):
        read_source(tmp_path, SiteRule())


def test_a_package_of_videos_alone_is_refused_by_name(package):
    with pytest.raises(TraplineError, match="its table media names no image"):
        package([medium("a", kind="video/mp4")], [seen("a")])


def test_events_that_all_lie_over_one_another_are_refused_before_they_fill_the_memory(package, monkeypatch):
    monkeypatch.setattr(camtrap_events, "MAX_PAIRS", 3)
    events = [of_event(f"e{number}", "13:00:00Z", "15:00:00Z") for number in range(2)]
    with pytest.raises(TraplineError, match=r"observations\.csv: .* of 4 images in all"):
        package([medium("a"), medium("b")], events)


def test_a_damaged_packed_table_is_refused_by_name(package, tmp_path):
    resources = [{"name": "media", "path": "media.csv.gz"}, {"name": "observations"}, {"name": "deployments"}]
    for data in (b"no gzip", gzip.compress(b"mediaID," * 100)[:-9]):
        (tmp_path / "media.csv.gz").write_bytes(data)
        with pytest.raises(TraplineError, match=r"media\.csv\.gz: cannot be unpacked"):
            package([medium("a")], [seen("a")], described={"resources": resources})


def test_options_that_say_what_the_package_says_are_refused(package, tmp_path):
    package([medium("a")], [seen("a")])
    with pytest.raises(UsageError, match="--folders site/label: a Camtrap DP says labels and sites itself"):
        read_source(tmp_path, SiteRule(), reading=Reading(folders="site/label"))
    several = Reading(folders="site/label", among_others=True)
    assert labels(read_source(tmp_path, SiteRule(), reading=several)) == {"a": "Sus scrofa"}


def test_the_layout_is_refused_where_there_is_none(tmp_path):
    with pytest.raises(UsageError, match=r"--layout camtrap-dp: .* does not lie so: datapackage\.json"):
        read_source(tmp_path, SiteRule(), reading=Reading(layout="camtrap-dp"))


# --- properties ---------------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    ["", "NA", "a", "b", "d1", "d2", "e", "media", "event", "animal", "blank", "machine", "=1+1", "\u202e",
     "..", "2024-05-31T14:00:00Z", "9999-12-31T23:59:59Z", "1e999", "99999999999999999999", "a.jpg", "../x",
     "file:///x"]
)  # fmt: skip


def rows_like(example):
    return st.lists(st.fixed_dictionaries(dict.fromkeys(example, CELLS)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(media=rows_like(medium("a")), observations=rows_like(seen("a")), deployments=rows_like(deployment()))
def test_whatever_the_tables_say_they_are_read_or_refused_by_name_and_no_medium_is_lost(
    package, media, observations, deployments
):
    media = [medium("sound"), *media]
    try:
        source = package(media, observations, deployments)
    except TraplineError as error:
        assert ".csv" in str(error)  # noqa: PT017
        return
    files = {row["filePath"] for row in media if row["filePath"] not in ("", "NA")}
    # By its fileName a medium that does not lie at its filePath may be the image of another row.
    others = {row["filePath"] for row in media if row["fileName"] in files - {row["filePath"]}}
    assert len(source.images) + len(source.quarantined) >= len(files - others)


SMALL = st.integers(0, 3)


@settings(max_examples=200, deadline=None)
@given(
    media=st.lists(st.tuples(SMALL, SMALL | st.none()), min_size=1, max_size=5),
    observed=st.lists(st.tuples(SMALL | st.none(), SMALL | st.none(), SMALL, SMALL, SMALL), max_size=6),
)
def test_events_are_of_the_media_that_a_look_at_every_pair_finds(media, observed):
    """Of media deployment and time; of observations medium or none, event or none, deployment, start, end."""
    observed = [(None if one is None else one % len(media), *others) for one, *others in observed]
    taken = Taken(*_columns([(place, time or 0, time is not None) for place, time in media], 3))
    rows = [
        (
            NOWHERE if own is None else own,
            NOWHERE if event is None else event,
            place,
            start,
            end,
            start <= end,
            0,
            0,
        )
        for own, event, place, start, end in observed
    ]
    found = links(taken, Observed(*_columns(rows, 8)), "observations.csv")
    own = {
        (event, place, medium)
        for medium, event, place, *_ in observed
        if medium is not None and event is not None
    }
    expected = {
        (medium, row)
        for row, (one, event, place, start, end) in enumerate(observed)
        for medium, (there, time) in enumerate(media)
        if one == medium
        or (
            one is None
            and (
                (event, place, medium) in own
                or (there == place and time is not None and start <= time <= end)
            )
        )
    }
    assert set(zip(found["medium"], found["row"], strict=True)) == expected
    assert len(found) == len(expected)


def _columns(rows, width):
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), width).T
    flags = {3: (2,), 8: (5, 7)}[width]
    return [column.astype(bool) if at in flags else column for at, column in enumerate(columns)]


def test_instants_are_microseconds_with_offsets_and_what_is_none_is_known_as_such():
    times, known = instants(["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.5", None, "31.5.2024", ""])
    assert times[:2].tolist() == [0, 500_000]
    assert known.tolist() == [True, True, False, False, False]


# --- photographs, and the command line ----------------------------------------------------------------------


def test_the_standards_own_example_is_read(real_data):
    folder = real_data / "formats/camtrap_dp/1.0.2/example"
    people = read_source(folder, SiteRule(), reading=Reading(among_others=True))
    assert set(labels(people).values()) == {None}
    assert len(people.images) + len(people.quarantined) == 423
    assert sum(path not in people.barred for path in people.images["path"]) == 10
    machines = read_source(folder, SiteRule(), reading=MACHINES)
    assert [label for label in labels(machines).values() if label] == ["Ardea"] * 10
    assert set(machines.images["site"]) == {"ce943ced"}


def test_a_package_with_media_elsewhere_is_read(real_data, tmp_path):
    for name in ("small_cat.jpg", "wild_dog_jackal.jpg", "equid.webp"):
        (tmp_path / name).touch()
    folder = real_data / "formats/zamba_tests/assets/images/camtrap_dp_small"
    source = read_source(folder, SiteRule(), reading=Reading(media=InputFolder(tmp_path)))
    assert labels(source) == {"m1": "Felis catus", "m2": "Canis aureus", "m4": "Equus"}
    assert column(source, "sequence") == {"m1": "evt1", "m2": "evt2", "m4": "evt4"}
    assert {own: reason for own, (reason, _) in quarantined(source).items()} == {
        "m3": "missing", "m5": "video",
    }  # fmt: skip


@pytest.mark.parametrize(("machine_labels", "labelled"), [("true", 21), ("false", 11)])
def test_prepare_takes_a_machines_labels_where_a_person_wants_them(
    tmp_path, call_script, machine_labels, labelled
):
    write_camtrap_dp(tmp_path / "package", drawn_set(tmp_path / "package"))
    path = tmp_path / "package" / "observations.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:13], *(line.replace("human", "machine") for line in lines[13:])]))
    done = call_script(
        "prepare.py", "--input", tmp_path / "package", "--output", tmp_path / "prepared", "--short-side", 16,
        "--processes", 1, "--split", "random", "--machine-labels", machine_labels,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = prepared_rows(tmp_path / "prepared")
    assert (len(rows), sum(bool(row["labels"]) for row in rows.values())) == (24, labelled)
    assert ("a machine's and no truth" in done.stdout) == (machine_labels == "false")


def test_prepare_refuses_an_old_package_by_name(tmp_path, call_script):
    write_camtrap_dp(tmp_path, drawn_set(tmp_path))
    (tmp_path / "datapackage.json").write_text(
        json.dumps({"profile": PROFILE.format("0.1.6"), "resources": []})
    )
    done = call_script("prepare.py", "--input", tmp_path, "--output", tmp_path / "prepared")
    assert done.returncode == 1
    assert "datapackage.json: is a Camtrap DP of version '0.1.6', and 1 is read" in done.stderr
