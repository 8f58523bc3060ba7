import csv
import shutil
from datetime import datetime

import pytest

from tests.support.camtrap_packages import LABELS, field_sheet, predictions_of, settings, sheet_row
from tests.support.predictions import drawn_predictions
from tests.support.read_back import facts_of, read_back
from tests.support.table_schema import faults_of_package
from trapline.formats.camtrap_dp import CAMTRAP_DP
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import Taxon, read_taxonomy


def as_written(facts, offset="+02:00"):
    """The facts of images that have a time, with classes and times as the package has them."""
    return {
        own: ({LABELS[label] for label in labels}, site, sequence, time + offset)
        for own, (labels, site, sequence, time) in facts.items()
        if time
    }


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_package_is_prepared_to_the_same_labels_sites_times_and_sequences(
    tmp_path, call_script, multilabel
):
    predictions = drawn_predictions(27, multilabel=multilabel, gaps=False, folder=tmp_path / "photos")
    CAMTRAP_DP.write(predictions, tmp_path, settings(tmp_path, timezone="Europe/Oslo"))
    asked = ("--several", "multilabel") if multilabel else ()
    found, unusable = read_back(call_script, tmp_path / "camtrap-dp", tmp_path / "photos", *asked)
    usable, _ = facts_of(predictions)
    assert found == as_written(usable)
    assert unusable == set()


def test_images_that_failed_come_back_as_such_and_those_without_a_time_not_at_all(tmp_path, call_script):
    predictions = drawn_predictions(45, folder=tmp_path / "photos")
    rows = predictions.rows
    rows["site"] = [file.split("/")[0].replace("_", " ") for file in rows["file"]]
    rows.loc[rows["status"] == "failed", "time"] = "2024-05-12T10:00:00"
    CAMTRAP_DP.write(predictions, tmp_path, settings(tmp_path, timezone="+02:00"))
    found, unusable = read_back(call_script, tmp_path / "camtrap-dp", tmp_path / "photos")
    usable, failed = facts_of(predictions)
    assert found == as_written(usable)
    assert unusable == failed


def test_real_frames_with_the_times_of_their_cameras_come_back(tmp_path, real_data, call_script):
    source = real_data / "camera_traps_exif"
    with (source / "labels.csv").open(newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))[:60]
    classes = sorted({row["label"] for row in listed})
    rows = []
    for number, row in enumerate(listed):
        site = f"camera {number % 3}"
        name = f"{site}/{row['path'].rpartition('/')[2]}"
        (tmp_path / "photos" / site).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / row["path"], tmp_path / "photos" / name)
        time = datetime.strptime(row["datetime"], "%Y:%m:%d %H:%M:%S").isoformat()
        rows.append(
            {"file": name, "path": str(tmp_path / "photos" / name), "site": site, "time": time,
             "label": classes.index(row["label"]), "sequence": f"s{number // 2}" if number < 20 else None}
        )  # fmt: skip
    predictions = predictions_of(rows, classes)
    sheet = [
        sheet_row(f"d{number}", f"camera {number}", "2010-01-01 00:00", "2021-01-01 00:00")
        for number in range(3)
    ]
    CAMTRAP_DP.write(predictions, tmp_path, _real_settings(tmp_path, classes, sheet))
    schemas = real_data / "formats" / "camtrap_dp" / "1.0.2"
    assert faults_of_package(tmp_path / "camtrap-dp", schemas) == []
    found, unusable = read_back(call_script, tmp_path / "camtrap-dp", tmp_path / "photos")
    usable, _ = facts_of(predictions)
    names = {label: "blank" if label == "Empty" else f"Genus {label.casefold()}" for label in classes}
    assert found == {  # a sequence of two cameras is an event at each
        own: (
            {names[label] for label in labels},
            site,
            sequence and f"d{site[-1]} {sequence}",
            f"{time}-07:00",
        )
        for own, (labels, site, sequence, time) in usable.items()
    }
    assert unusable == set()


def _real_settings(folder, classes, sheet):
    lines = [f"{label},Genus {label.casefold()},species" for label in classes if label != "Empty"]
    (folder / "taxonomy.csv").write_text("\n".join(["label,scientificName,rank", *lines]) + "\n")
    taxonomy = read_taxonomy(folder / "taxonomy.csv", classes)
    assert all(isinstance(each, Taxon) for each in taxonomy.values())
    own = settings(folder, sheet)
    return FormatSettings(taxonomy, field_sheet(folder, sheet), own.project, "-07:00")
