import re
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from tests.support.camtrap_packages import field_sheet, sheet_row
from tests.support.table_schema import read_cells
from trapline.errors import TraplineError, UsageError
from trapline.formats import field_sheet as sheets
from trapline.formats.camtrap_fields import DEPLOYMENTS
from trapline.formats.camtrap_times import read_zone
from trapline.formats.deployments import deployments_by_site, read_deployments

OSLO = ZoneInfo("Europe/Oslo")
NO_OFFSETS = {"start": "2024-01-10T12:00:00", "end": "2024-07-10T12:00:00"}


@pytest.fixture
def read(tmp_path):
    """Read a field sheet of some rows, with or without a zone."""

    def reader(*rows, zone=None):
        return read_deployments(field_sheet(tmp_path, list(rows)), zone)

    return reader


@pytest.fixture
def refused(read):
    """What is said of a field sheet that is refused."""

    def reader(*rows, zone=None):
        with pytest.raises(TraplineError) as caught:
            read(*rows, zone=zone)
        return str(caught.value)

    return reader


# --- what is read -------------------------------------------------------------------------------------------


def test_a_row_is_a_deployment_with_the_cells_that_the_standard_has(read):
    (found,) = read(sheet_row(cameraHeight="1,30", baitUse="TRUE", cameraDelay="120.0", habitat="bog, wet"))
    assert (found.id, found.offset, found.shift) == ("d1", 7200, 0)
    assert found.end - found.start == timedelta(days=31).total_seconds()
    written = {name: cell for name, cell in found.cells.items() if cell}
    assert written == {
        "deploymentID": "d1", "locationID": "north gate", "latitude": "61.5", "longitude": "10.25",
        "deploymentStart": "2024-05-11T00:00:00+02:00", "deploymentEnd": "2024-06-11T00:00:00+02:00",
        "cameraHeight": "1.30", "baitUse": "true", "cameraDelay": "120", "habitat": "bog, wet",
    }  # fmt: skip


def test_names_of_columns_may_be_in_any_case_and_have_blanks(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text(
        "Deployment ID;LATITUDE;longitude;deployment_start;Deployment End\n"
        "d1;61,5;10,25;10.01.2024 12:00;20.01.2024 12:00\n"
    )
    (found,) = read_deployments(path, UTC)
    assert (found.cells["latitude"], found.cells["longitude"]) == ("61.5", "10.25")
    assert found.cells["deploymentStart"] == "2024-01-10T12:00:00+00:00"


def test_columns_that_the_standard_lacks_are_left_out_and_named(read, capsys):
    (found,) = read(sheet_row(battery="full"))
    assert "battery" not in found.cells
    assert "left out of the package: 'battery'" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", ["", "NA", "NaN", "nan", "  "])
def test_cells_that_say_nothing_as_the_standard_writes_it_are_empty(read, nothing):
    (found,) = read(sheet_row(cameraDelay=nothing, cameraTime=nothing, actualTime=nothing))
    assert (found.cells["cameraDelay"], found.shift) == ("", 0)


def test_the_deployments_of_the_standards_own_example_stay_as_they_are(real_data):
    path = real_data / "formats" / "camtrap_dp" / "1.0.2" / "example" / "deployments.csv"
    rows = read_cells(path)
    assert [dict(each.cells) for each in read_deployments(path, None)] == rows
    assert list(rows[0]) == list(DEPLOYMENTS)


# --- what is refused ----------------------------------------------------------------------------------------


def test_without_a_field_sheet_its_columns_are_asked_for():
    with pytest.raises(UsageError, match=r"--deployments.*deploymentID, latitude, longitude, deployment"):
        read_deployments(None, None)


def test_a_sheet_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere.csv: no such file"):
        read_deployments(tmp_path / "nowhere.csv", None)


def test_missing_columns_are_named_together(tmp_path):
    (tmp_path / "sheet.csv").write_text("deploymentID,site,deploymentStart\nd1,x,2024-05-31T00:00:00Z\n")
    with pytest.raises(TraplineError, match="lacks the columns latitude, longitude, deploymentEnd"):
        read_deployments(tmp_path / "sheet.csv", None)


def test_a_sheet_without_rows_is_refused(tmp_path):
    (tmp_path / "sheet.csv").write_text("deploymentID,latitude,longitude,deploymentStart,deploymentEnd\n")
    with pytest.raises(TraplineError, match="has no rows"):
        read_deployments(tmp_path / "sheet.csv", None)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"latitude": "91"}, "latitude '91' is outside of its range from -90 to 90"),
        ({"longitude": ""}, "longitude is empty"),
        ({"latitude": "61°30'"}, "latitude '61°30'' is no number"),
        ({"deploymentID": "NA"}, "deploymentID is empty"),
        ({"deploymentID": "null"}, "deploymentID 'null' is no id"),
        ({"coordinateUncertainty": "0"}, "coordinateUncertainty '0' is outside of its range from 1"),
        ({"cameraDelay": "1,000"}, "cameraDelay '1,000' is no whole number"),
        ({"cameraHeading": "361"}, "cameraHeading '361' is outside of its range from 0 to 360"),
        ({"baitUse": "perhaps"}, "baitUse 'perhaps' is neither true nor false"),
        ({"featureType": "path"}, "featureType 'path' is none of roadPaved, "),
        ({"deploymentStart": "spring"}, "deploymentStart 'spring' is no time for certain"),
        ({"deploymentStart": "2024-05-11"}, "deploymentStart '2024-05-11' is a day; add the time of day"),
        ({"deploymentEnd": "9999-12-31T00:00:00Z"}, "deploymentEnd '9999-12-31T00:00:00Z' is no time"),
        ({"deploymentEnd": "2024-05-10T00:00:00Z"}, "is before its deploymentStart"),
        ({"cameraTime": "2024-05-11T12:00:00"}, "has one of cameraTime and actualTime; give both"),
        ({"deploymentStart": "2024-05-11 00:00:00"}, "has no offset; write it as .* or give --timezone"),
    ],
)
def test_a_cell_that_cannot_be_is_named_with_its_line_and_column(refused, cell, said):
    message = refused(sheet_row("d0"), sheet_row() | cell)
    assert "deployments.csv: line 3: " in message
    assert re.search(said, message)


def test_the_first_ten_faults_are_said_and_the_others_counted(refused):
    message = refused(*(sheet_row(f"d{number}", latitude="north") for number in range(13)))
    assert message.count("is no number") == 10
    assert message.endswith("and 3 more")


def test_a_deployment_that_comes_twice_is_refused(refused):
    assert "line 3: its deploymentID 'd1' is in line 2 too" in refused(sheet_row(), sheet_row())


def test_a_day_that_may_be_a_month_is_refused_with_the_reason(refused):
    message = refused(sheet_row(start="5/6/2024 12:00", end="7/8/2024 12:00"), zone=UTC)
    assert "day or month may come first" in message


@pytest.mark.parametrize("name", ["sheet.xls", "sheet.ods", "sheet.xlsx"])
def test_a_workbook_that_is_not_read_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(TraplineError, match="save it as CSV"):
        read_deployments(tmp_path / name, None)


def test_a_workbook_of_excel_is_read(tmp_path):
    rows = pd.DataFrame([sheet_row(cameraDelay=120)])
    rows["deploymentStart"] = pd.Timestamp("2024-05-11 14:00:00")
    rows.to_excel(tmp_path / "sheet.xlsx", index=False)
    (found,) = read_deployments(tmp_path / "sheet.xlsx", OSLO)
    assert found.cells["deploymentStart"] == "2024-05-11T14:00:00+02:00"
    assert found.cells["cameraDelay"] == "120"


def test_a_workbook_that_unpacks_to_more_than_any_field_sheet_is_refused(tmp_path, monkeypatch):
    pd.DataFrame([sheet_row()]).to_excel(tmp_path / "sheet.xlsx", index=False)
    monkeypatch.setattr(sheets, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(TraplineError, match="bytes unpacked are more than a field sheet has"):
        read_deployments(tmp_path / "sheet.xlsx", None)


# --- offsets and clocks -------------------------------------------------------------------------------------


def test_a_camera_keeps_the_offset_of_its_start_and_people_follow_the_law(read):
    (found,) = read(sheet_row(**NO_OFFSETS), zone=OSLO)
    assert found.offset == 3600
    assert found.cells["deploymentStart"] == "2024-01-10T12:00:00+01:00"
    assert found.cells["deploymentEnd"] == "2024-07-10T12:00:00+02:00"


def test_an_end_without_offset_has_that_of_its_start_before_that_of_the_zone(read):
    (found,) = read(sheet_row(start="2024-05-11T12:00:00-03:00", end="2024-05-12T12:00:00"), zone=OSLO)
    assert found.cells["deploymentEnd"] == "2024-05-12T12:00:00-03:00"


@pytest.mark.parametrize(
    ("camera", "actual", "shift"),
    [
        ("2024-05-11T12:00:00", "2024-05-11T13:30:00", 5400),
        ("2019-01-01T00:00:00", "2024-05-11T12:00:00", 169128000),
        ("2024-05-11T12:00:00", "2024-05-11T10:00:05Z", 5),
        ("2024-05-11T12:00:00+02:00", "2024-05-11T10:00:00Z", 0),
        ("2024-05-11 12:00:10", "2024-05-11 12:00:00", -10),
    ],
)
def test_the_difference_of_the_clocks_is_known(read, camera, actual, shift):
    (found,) = read(sheet_row(cameraTime=camera, actualTime=actual, deploymentComments="by the brook"))
    assert found.shift == shift
    said = f" | times of media are the camera's {shift:+d} s" if shift else ""
    assert found.cells["deploymentComments"] == "by the brook" + said


def test_a_watch_that_followed_the_law_makes_no_difference_to_a_clock_that_did_not(read):
    row = sheet_row(**NO_OFFSETS, cameraTime="2024-07-10T11:00:00", actualTime="2024-07-10T12:00:00")
    assert read(row, zone=OSLO)[0].shift == 0


def test_a_zone_is_a_name_or_an_offset():
    assert read_zone("Europe/Oslo") == OSLO
    assert read_zone("+05:30") == timezone(timedelta(hours=5, minutes=30))
    assert read_zone("Z") == UTC
    assert read_zone(None) is None


@pytest.mark.parametrize("text", ["", "Oslo", "../../etc/passwd", "Europe", "+25:00", "/etc/passwd", "a\0b"])
def test_what_is_no_zone_is_refused_by_name(text):
    with pytest.raises(UsageError, match=r"--timezone.*no such time zone"):
        read_zone(text)


# --- sites --------------------------------------------------------------------------------------------------


def test_a_site_is_a_location_else_its_name_else_a_deployment(read):
    found = read(
        sheet_row("d1", "A"),
        sheet_row("d2", "A", locationName="B"),
        sheet_row("B", "C", locationName="the bog"),
        sheet_row("E", ""),
    )
    assert deployments_by_site(found, ["A", "B", "C", "the bog", "E", "D", None]) == {
        "A": [0, 1], "B": [1], "C": [2], "the bog": [2], "E": [3], "D": [],
    }  # fmt: skip


def test_spellings_of_a_site_are_one(read):
    found = read(sheet_row("d1", "North  Gate"), sheet_row("d2", "7"))
    assert deployments_by_site(found, ["north gate ", "NORTH GATE"]) == {
        "north gate ": [0],
        "NORTH GATE": [0],
    }
    assert deployments_by_site(read(sheet_row("d2", "7")), ["7.0"]) == {"7.0": [0]}
