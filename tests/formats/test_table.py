"""predictions.csv and predictions.parquet."""

import csv

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.support.predictions import CLASSES, STRANGE_CLASSES, drawn_predictions
from tests.support.read_back import facts_of, read_back
from tests.support.real_predictions import REAL
from trapline.formats.settings import FormatSettings
from trapline.formats.table import CSV, PARQUET
from trapline.storage import joined, neutralised
from trapline.tables import read_strings


def written(form, predictions, folder):
    (path,) = form.write(predictions, folder, FormatSettings())
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("multilabel", [False, True])
def test_its_columns_are_those_that_the_pipeline_always_wrote_and_then_where_and_when(tmp_path, multilabel):
    predictions = drawn_predictions(multilabel=multilabel, classes=STRANGE_CLASSES)
    header, *rows = rows_of(written(CSV, predictions, tmp_path))
    first = ["id", "status", "reason", *(["labels"] if multilabel else []), "label", "confidence"]
    assert header == [
        *first, "needs_review", *map(neutralised, STRANGE_CLASSES), "path", "site", "time", "sequence",
    ]  # fmt: skip
    for place, (cells, own) in enumerate(zip(rows, predictions.rows.itertuples(), strict=True)):
        values = dict(zip(header, cells, strict=True))
        assert (values["id"], values["status"]) == (own.id, own.status)
        if own.status == "ok":
            numbers = predictions.probabilities[place]
            assert values["label"] == neutralised(STRANGE_CLASSES[numbers.argmax()])
            assert values["confidence"] == f"{numbers.max():.9g}"
            assert cells[len(first) + 1 : -4] == [f"{value:.9g}" for value in numbers]
            assert values["needs_review"] == ("false" if numbers.max() >= 0.6 else "true")
        if multilabel:
            labels = np.flatnonzero(predictions.labels[place]).tolist()
            assert values["labels"] == neutralised(joined([STRANGE_CLASSES[label] for label in labels]))
        assert cells[-4:] == [own.file, own.site or "", own.time or "", own.sequence or ""]


def test_a_failed_image_has_a_reason_no_label_and_no_number(tmp_path):
    table = read_strings(written(CSV, drawn_predictions(), tmp_path), ["id"])
    failed = table[table["status"] == "failed"]
    assert len(failed) == 4
    assert set(failed["reason"]) == {"not_an_image"}
    assert set(failed["needs_review"]) == {"true"}
    assert set(failed[["label", "confidence", "fox"]].to_numpy().ravel()) == {""}


def test_a_confidence_below_the_threshold_is_marked_for_review_however_low_that_mark_is(tmp_path):
    predictions = drawn_predictions()
    object.__setattr__(predictions, "review_below", 0.0)
    table = read_strings(written(CSV, predictions, tmp_path), ["id"])
    confidence = pd.to_numeric(table["confidence"])
    assert (table["needs_review"] == "true").tolist() == (~(confidence >= 0.35)).tolist()
    assert table.loc[1, "label"] == "fox"


def test_classes_that_are_called_as_a_column_have_a_column_of_their_own(tmp_path):
    classes = ("site", "path", "label", "class_label", "fox")
    predictions = drawn_predictions(classes=classes)
    names = rows_of(written(CSV, predictions, tmp_path))[0]
    assert names[6:11] == ["class_site", "class_path", "class_class_label", "class_label", "fox"]
    assert len(set(names)) == len(names)
    table = pq.read_table(written(PARQUET, predictions, tmp_path))
    assert table.column_names == names


def test_no_class_and_no_path_becomes_a_formula(tmp_path):
    predictions = drawn_predictions(classes=STRANGE_CLASSES, strange=True)
    predictions.rows.loc[0, "file"] = "=1+1.jpg"
    rows = rows_of(written(CSV, predictions, tmp_path))
    cells = {cell for row in rows for cell in row[1:]}
    assert {"'=1+1", "'-fox", "'=1+1.jpg"} <= cells
    assert not [cell for cell in cells if cell != neutralised(cell) and not cell.startswith("'")]


@pytest.mark.parametrize("multilabel", [False, True])
def test_parquet_holds_what_the_csv_says_with_types_and_the_texts_as_they_are(tmp_path, multilabel):
    predictions = drawn_predictions(classes=STRANGE_CLASSES, strange=True, multilabel=multilabel)
    predictions.rows.loc[3, "site"] = "half \udcff"
    table = pq.read_table(written(PARQUET, predictions, tmp_path))
    found = table.to_pandas()
    said = read_strings(written(CSV, predictions, tmp_path), ["id"])
    assert list(found.columns) == list(said.columns)
    assert found["path"].tolist() == predictions.rows["file"].tolist()
    assert found["label"].fillna("").tolist() == said["label"].tolist()
    np.testing.assert_array_equal(found[list(STRANGE_CLASSES)], predictions.probabilities)
    assert found["confidence"].isna().tolist() == (predictions.rows["status"] == "failed").tolist()
    assert table["confidence"].null_count == table["=1+1"].null_count == 4
    assert found["needs_review"].dtype == bool
    assert found.loc[3, "site"] == "half \\udcff"
    assert found.loc[10, "site"] is None or pd.isna(found.loc[10, "site"])
    assert table.schema.metadata[b"model"] == b"field-model-3"
    if multilabel:
        assert [joined(list(row)) if row is not None else "" for row in found["labels"]] == list(
            said["labels"]
        )


def test_parquet_is_written_in_groups_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("trapline.formats.predictions.BATCH", 7)
    monkeypatch.setattr("trapline.formats.table.BATCHES_A_GROUP", 2)
    path = written(PARQUET, drawn_predictions(), tmp_path)
    assert pq.ParquetFile(path).num_row_groups == 3
    assert pq.read_table(path)["id"].to_pylist() == [f"image {number}" for number in range(30)]


@pytest.mark.parametrize("form", [CSV, PARQUET])
def test_no_predictions_are_a_table_without_rows(tmp_path, form):
    path = written(form, drawn_predictions(0), tmp_path)
    read = pd.read_csv if form is CSV else pd.read_parquet
    assert len(read(path)) == 0


def test_what_is_written_is_prepared_to_the_same_labels_sites_sequences_and_times(tmp_path, call_script):
    predictions = drawn_predictions(folder=tmp_path / "photos", strange=True)
    path = written(CSV, predictions, tmp_path)
    found, aside = read_back(call_script, path, tmp_path / "photos")
    usable, failed = facts_of(predictions, labels=False)
    assert found == usable
    assert aside == failed


@pytest.mark.parametrize("classes", [CLASSES, STRANGE_CLASSES, ("site", "label", "red fox", "class_label")])
def test_several_labels_come_back_whatever_the_classes_are_called(tmp_path, call_script, classes):
    predictions = drawn_predictions(folder=tmp_path / "photos", classes=classes, multilabel=True)
    found, aside = read_back(
        call_script, written(CSV, predictions, tmp_path), tmp_path / "photos", "--several", "multilabel"
    )
    assert (found, aside) == facts_of(predictions)


@pytest.mark.parametrize("multilabel", [False, True])
def test_names_that_a_spreadsheet_would_take_for_formulas_come_back(tmp_path, call_script, multilabel):
    predictions = drawn_predictions(
        folder=tmp_path / "photos", classes=STRANGE_CLASSES, multilabel=multilabel, gaps=False
    )
    for row, name in enumerate(("=1+1.jpg", "-2.jpg", "@home.jpg", "'=3.jpg", "'quoted.jpg", "+4,5.jpg")):
        (tmp_path / "photos" / predictions.rows["file"][row]).rename(tmp_path / "photos" / name)
        predictions.rows.loc[row, ["file", "id", "path"]] = name
        predictions.rows.loc[row, ["site", "sequence"]] = f"={row}"
    options = ["--several", "multilabel"] if multilabel else []
    found, aside = read_back(call_script, written(CSV, predictions, tmp_path), tmp_path / "photos", *options)
    assert (found, aside) == facts_of(predictions, labels=multilabel)


@pytest.mark.parametrize("drawn", REAL)
def test_frames_of_real_cameras_come_back_with_labels_sites_and_times(
    tmp_path, real_data, call_script, drawn
):
    predictions, folder = drawn(real_data)
    found, aside = read_back(call_script, written(CSV, predictions, tmp_path), folder)
    assert (found, aside) == facts_of(predictions, labels=False)
