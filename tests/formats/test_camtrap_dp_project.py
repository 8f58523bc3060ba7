import dataclasses
import json

import pytest

from tests.support.camtrap_packages import PROJECT, TAXONOMY, settings, sheet_row
from tests.support.predictions import CLASSES, CREATED
from trapline.errors import TraplineError, UsageError
from trapline.formats.camtrap_dp import CAMTRAP_DP
from trapline.formats.camtrap_project import descriptor, read_project
from trapline.formats.deployments import Deployment
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import Taxon

ASKED = (
    "contributors", "licenses", "project.title", "project.samplingDesign", "project.captureMethod",
    "project.individualAnimals",
)  # fmt: skip


@pytest.fixture
def refused(tmp_path):
    """What is said of a project.json of some content."""

    def reader(content):
        (tmp_path / "project.json").write_text(json.dumps(content))
        with pytest.raises(TraplineError) as caught:
            read_project(tmp_path / "project.json")
        return str(caught.value)

    return reader


def changed(**project):
    return {**PROJECT, "project": {**PROJECT["project"], **project}}


def placed(longitude, latitude="61.5", start="2024-05-11T00:00:00+02:00", end="2024-06-11T00:00:00+02:00"):
    cells = {
        "latitude": latitude, "longitude": longitude, "deploymentStart": start, "deploymentEnd": end,
    }  # fmt: skip
    return Deployment(cells, 0, 1, 7200)


# --- before anything is predicted ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_project_that_gives_all_passes_until_one_thing_is_missing(tmp_path, task):
    given = settings(tmp_path)
    CAMTRAP_DP.check(CLASSES, task, given)
    with pytest.raises(UsageError, match=r"--project project\.json"):
        CAMTRAP_DP.check(CLASSES, task, dataclasses.replace(given, project=None))


def test_all_that_is_missing_is_asked_for_at_once():
    with pytest.raises(UsageError) as caught:
        CAMTRAP_DP.check(CLASSES, "multiclass", FormatSettings(timezone="Oslo"))
    message = str(caught.value)
    assert message.startswith("camtrap-dp cannot be written:\n")
    for said in (
        "--timezone 'Oslo'",
        "--deployments deployments.csv",
        "--project project.json",
        "--taxonomy",
        *ASKED,
    ):
        assert said in message


def test_classes_of_animals_that_the_taxonomy_lacks_are_named_all_and_no_others(tmp_path):
    taxonomy = {"red deer": TAXONOMY["red deer"], "fox": Taxon("animal")}
    with pytest.raises(
        UsageError, match="names no animal for 2 classes: 'wild boar', 'fox'; give --taxonomy"
    ):
        CAMTRAP_DP.check(CLASSES, "multiclass", settings(tmp_path, taxonomy=taxonomy))


def test_a_sheet_without_offsets_needs_a_zone_and_says_so_before_anything_is_predicted(tmp_path):
    rows = [sheet_row(start="2024-05-11T00:00:00")]
    with pytest.raises(UsageError, match="has no offset; write it as"):
        CAMTRAP_DP.check(CLASSES, "multiclass", settings(tmp_path, rows))
    CAMTRAP_DP.check(CLASSES, "multiclass", settings(tmp_path, rows, timezone="Europe/Oslo"))


# --- project.json -------------------------------------------------------------------------------------------


def test_missing_keys_are_listed_with_an_example_each(refused):
    message = refused({"project": {"title": " ", "samplingDesign": "targeted"}, "contributors": []})
    assert "5 keys are missing that only people know:" in message
    for name in ASKED:
        assert (f"\n  {name}, such as " in message) == (name != "project.samplingDesign")
    assert '[{"name": "CC0-1.0", "scope": "data"}, ' in message


def test_a_file_that_is_not_there_or_no_object_is_refused(refused, tmp_path):
    with pytest.raises(UsageError, match="no such file; it is a JSON with these keys"):
        read_project(tmp_path / "nowhere.json")
    assert "is no object" in refused([])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(samplingDesign="random"), "project.samplingDesign 'random' is none of simpleRandom, "),
        (
            changed(captureMethod="timeLapse"),
            "project.captureMethod is no list of activityDetection, timeLapse",
        ),
        (changed(captureMethod=["timeLapse", "timeLapse"]), "project.captureMethod names one twice"),
        (changed(individualAnimals="no"), "project.individualAnimals is neither true nor false"),
        (changed(observationLevel=["event"]), 'project.observationLevel lacks "media"'),
        (changed(title=3), "project.title is no text"),
        (changed(acronym=3), "project.acronym is no text"),
        ({**PROJECT, "contributors": "Ada"}, "contributors is no list of objects; write it as [{"),
        ({**PROJECT, "contributors": [{"name": "Ada"}]}, "contributors[0] has no title"),
        (
            {**PROJECT, "contributors": [{"title": "Ada", "role": "boss"}]},
            "contributors[0].role 'boss' is none",
        ),
        ({**PROJECT, "licenses": PROJECT["licenses"][:1]}, "licenses has none of scope media"),
        ({**PROJECT, "licenses": [{"scope": "data"}]}, "licenses[0] has neither name nor path"),
        ({**PROJECT, "licenses": [{"name": "CC 0", "scope": "data"}]}, "licenses[0].name 'CC 0' is no name"),
        (
            {**PROJECT, "licenses": [{"name": "x", "scope": "all"}]},
            "licenses[0].scope is none of data, media",
        ),
        ({**PROJECT, "title": ["x"]}, "title is no text"),
        ({**PROJECT, "name": "My Project"}, "name holds other characters"),
        ({**PROJECT, "keywords": "bears"}, "keywords is no list of words"),
        ({**PROJECT, "spatial": "Norway"}, "spatial is no GeoJSON object; leave it out, and it is computed"),
        ({**PROJECT, "temporal": {"start": "2024"}}, "temporal has no start and end such as 2024-05-31"),
        ({**PROJECT, "taxonomic": ["Vulpes"]}, "taxonomic is no list of objects with a scientificName"),
    ],
)
def test_what_the_standard_would_refuse_is_named_with_its_key(refused, content, said):
    assert said in refused(content)


def test_several_faults_are_said_together(refused):
    message = refused(changed(samplingDesign="random", individualAnimals=1))
    assert "project.samplingDesign" in message
    assert "project.individualAnimals" in message


# --- the descriptor -----------------------------------------------------------------------------------------


def test_what_people_give_goes_before_what_is_computed_but_for_the_files():
    given = {
        "temporal": {"start": "2020-01-01", "end": "2020-12-31"},
        "taxonomic": [],
        "title": "T",
        "resources": [],
    }
    found = descriptor({**PROJECT, **given, "created": "x"}, [placed("10")], [], CREATED)
    assert (found["temporal"], found["taxonomic"], found["title"]) == (given["temporal"], [], "T")
    assert [each["name"] for each in found["resources"]] == ["deployments", "media", "observations"]
    assert found["created"] == "2025-03-04T05:06:07+00:00"


def test_the_level_of_observations_is_that_of_media_unless_people_give_more():
    assert descriptor(PROJECT, [placed("10")], [], CREATED)["project"]["observationLevel"] == ["media"]
    given = changed(observationLevel=["media", "event"])
    assert descriptor(given, [placed("10")], [], CREATED)["project"]["observationLevel"] == ["media", "event"]


def test_the_time_covered_is_from_the_first_start_to_the_last_end():
    listed = [placed("1", end="2025-01-02T00:00:00+01:00"), placed("2", start="2023-01-01T23:00:00+01:00")]
    assert descriptor(PROJECT, listed, [], CREATED)["temporal"] == {
        "start": "2023-01-01",
        "end": "2025-01-02",
    }


def test_a_box_around_places_on_both_sides_of_the_antimeridian_is_two():
    spatial = descriptor(PROJECT, [placed("179.5"), placed("-179", "60"), placed("178")], [], CREATED)[
        "spatial"
    ]
    assert spatial["type"] == "MultiPolygon"
    corners = [(part[0][0], part[0][2]) for part in spatial["coordinates"]]
    assert corners == [([178.0, 60.0], [180.0, 61.5]), ([-180.0, 60.0], [-179.0, 61.5])]


def test_places_far_apart_are_in_the_smaller_of_the_boxes():
    spatial = descriptor(PROJECT, [placed("10"), placed("-70"), placed("25")], [], CREATED)["spatial"]
    assert spatial["coordinates"][0][0] == [-70.0, 61.5]
    assert spatial["coordinates"][0][2] == [25.0, 61.5]


def test_a_rank_that_the_standard_does_not_know_is_left_out_and_a_name_comes_once():
    taxa = [
        Taxon("animal", "Glires", "superorder"),
        Taxon("animal", "Aves", "class"),
        Taxon("animal", "Aves"),
    ]
    assert descriptor(PROJECT, [placed("10")], taxa, CREATED)["taxonomic"] == [
        {"scientificName": "Aves", "taxonRank": "class"}, {"scientificName": "Glires"},
    ]  # fmt: skip
