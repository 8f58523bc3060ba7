"""timelapse.csv, as Timelapse's own import reads it, and the columns that a template needs."""

import csv
from datetime import datetime

import numpy as np
import pytest

from tests.support.predictions import STRANGE_CLASSES, drawn_predictions
from tests.support.read_back import facts_of, read_back
from tests.support.real_predictions import REAL
from trapline.errors import UsageError
from trapline.formats.settings import FormatSettings
from trapline.formats.timelapse import TIMELAPSE
from trapline.storage import neutralised

STANDARD = ["RootFolder", "File", "RelativePath", "DateTime", "DeleteFlag"]


def written(predictions, folder):
    """The rows of both tables."""
    paths = TIMELAPSE.write(predictions, folder, FormatSettings())
    assert [path.name for path in paths] == ["timelapse.csv", "timelapse_columns.csv"]
    tables = []
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    return tables


def refused(rows, columns):
    """What Timelapse's import finds wrong with the rows, by the types and choices of the columns."""
    controls = {row["DataLabel"]: row for row in columns}
    for row in rows:
        for name in row.keys() - {*STANDARD}:
            kind, choices = controls[name]["Type"], controls[name]["Choices"].split("\n")
            cell = row[name]
            if kind == "Flag" and cell not in ("true", "false"):
                yield name, cell
            if kind == "DecimalPositive" and cell and float(cell) < 0:
                yield name, cell
            if kind == "FixedChoice" and cell and cell not in choices:
                yield name, cell
            if kind == "MultiChoice" and cell and not {*cell.split(",")} <= {*choices}:
                yield name, cell


@pytest.mark.parametrize("multilabel", [False, True])
def test_every_cell_is_one_that_timelapse_takes(tmp_path, multilabel):
    predictions = drawn_predictions(multilabel=multilabel)
    rows, columns = written(predictions, tmp_path)
    assert list(rows[0])[:5] == STANDARD
    assert list(rows[0])[5:] == [column["DataLabel"] for column in columns]
    assert list(refused(rows, columns)) == []
    for row, own in zip(rows, predictions.rows.itertuples(), strict=True):
        assert row["DeleteFlag"] == "false"
        assert f"{row['RelativePath']}\\{row['File']}" == own.file.replace("/", "\\")
        if row["DateTime"]:
            assert datetime.strptime(row["DateTime"], "%Y-%m-%d %H:%M:%S").isoformat() == own.time
        else:
            assert own.time is None


def test_images_without_a_label_say_why(tmp_path):
    rows, _ = written(drawn_predictions(), tmp_path)
    assert rows[0]["Species"] == "fox"
    assert rows[0]["Remark"] == ""
    assert rows[1]["Species"] == ""
    assert rows[1]["NeedsReview"] == "true"
    assert rows[1]["Remark"] == "below the threshold, perhaps fox"
    assert rows[6]["Species"] == rows[6]["Confidence"] == rows[6]["DateTime"] == ""
    assert rows[6]["Remark"] == "failed: not_an_image: cannot identify the image"


def test_several_labels_stand_in_one_cell_as_a_multichoice_has_them(tmp_path):
    predictions = drawn_predictions(multilabel=True)
    rows, columns = written(predictions, tmp_path)
    assert columns[0]["Type"] == "MultiChoice"
    for place, row in enumerate(rows):
        labels = [predictions.classes[label] for label in np.flatnonzero(predictions.labels[place])]
        assert row["Species"] == ",".join(labels)


def test_a_class_with_a_comma_cannot_stand_among_several(tmp_path):
    classes = ("fox", 'owl "barn", large')
    TIMELAPSE.check(classes, "multiclass", FormatSettings())
    with pytest.raises(UsageError, match=r"--formats timelapse: the class 'owl \"barn\", large' holds a com"):
        TIMELAPSE.check(classes, "multilabel", FormatSettings())
    with pytest.raises(UsageError, match="--formats timelapse"):
        written(drawn_predictions(classes=classes, multilabel=True), tmp_path)


def test_a_label_is_no_formula_and_still_one_of_the_choices_while_files_are_found_by_their_names(tmp_path):
    predictions = drawn_predictions(60, classes=STRANGE_CLASSES, strange=True)
    rows, columns = written(predictions, tmp_path)
    assert rows[0]["File"] == "=cmd.jpg"
    assert list(refused(rows, columns)) == []
    assert {"'=1+1", "'-fox"} <= {row["Species"] for row in rows}
    assert columns[0]["Choices"].split("\n") == [neutralised(name) for name in STRANGE_CLASSES]


def test_a_time_with_an_offset_is_the_cameras_clock_and_a_day_alone_no_time(tmp_path):
    predictions = drawn_predictions(offset="+05:30", gaps=False)
    predictions.rows.loc[1, "time"] = "2024-05-11"
    predictions.rows.loc[2, "time"] = "2024-05-11T14:02:12.750Z"
    predictions.rows.loc[3, "time"] = "in the morning"
    rows, _ = written(predictions, tmp_path)
    assert [row["DateTime"] for row in rows[:4]] == ["2024-05-11 14:02:10", "", "2024-05-11 14:02:12", ""]


def test_what_is_written_is_prepared_to_the_same_labels_sites_sequences_and_times(tmp_path, call_script):
    predictions = drawn_predictions(folder=tmp_path / "photos", strange=True)
    written(predictions, tmp_path)
    found, aside = read_back(
        call_script, tmp_path / "timelapse.csv", tmp_path / "photos",
        "--columns", "label=Species", "site=Site",
    )  # fmt: skip
    usable, failed = facts_of(predictions, "file")
    divided = {file for file in usable if "\\" in file}  # which is a folder's end in Timelapse
    assert found == {file: facts for file, facts in usable.items() if file not in divided}
    assert failed < aside
    assert len(aside) == len(failed | divided)


def test_several_labels_in_a_cell_come_back(tmp_path, call_script):
    predictions = drawn_predictions(folder=tmp_path / "photos", multilabel=True)
    written(predictions, tmp_path)
    found, aside = read_back(
        call_script, tmp_path / "timelapse.csv", tmp_path / "photos",
        "--columns", "site=Site", "--several", "multilabel",
    )  # fmt: skip
    assert (found, aside) == facts_of(predictions, "file")


@pytest.mark.parametrize("drawn", REAL)
def test_frames_of_real_cameras_come_back_with_labels_sites_and_times(
    tmp_path, real_data, call_script, drawn
):
    predictions, folder = drawn(real_data)
    written(predictions, tmp_path)
    found, aside = read_back(
        call_script, tmp_path / "timelapse.csv", folder, "--columns", "label=Species", "site=Site"
    )
    usable, _ = facts_of(predictions, "file")
    assert found == usable
    assert not aside
