import json

import pandas as pd
import pytest

from trapline.errors import TraplineError
from trapline.reports.answer_tables import (
    Answer,
    read_answers,
    read_index,
    write_label_predictions,
)

CLASSES = ["cat", "dog", "hog"]
GOOD = {
    "status": "ok",
    "reason": None,
    "label": "dog",
    "confidence": 0.7,
    "probabilities": {"hog": 0.1, "cat": 0.2, "dog": 0.7},
}
UNREADABLE = {"status": "failed", "reason": "truncated", "label": None, "confidence": None}


def index(*rows):
    return pd.DataFrame(rows, columns=["name", "id", "reason", "detail"])


def answer(folder, name, content, below="part-0/images"):
    (folder / below).mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / below / f"{name}.out").write_text(text, encoding="utf-8")


def read_one(folder, content):
    answer(folder, "a.jpg", content)
    return read_answers(folder, index(("a.jpg", "A", "", "")), CLASSES)[0]


def test_every_input_has_one_answer_in_the_order_of_the_index(tmp_path):
    answer(tmp_path, "2-b.jpg", GOOD)
    answer(tmp_path, "1-a.jpg", UNREADABLE, below="part-1")
    rows = index(
        ("1-a.jpg", "A", "truncated", "half a file"),
        ("2-b.jpg", "B", "", ""),
        ("", "C", "missing", "no such file"),
        ("4-d.jpg", "D", "", ""),
        ("5-e.jpg", "E", "empty", "no bytes"),
    )
    found = read_answers(tmp_path, rows, CLASSES)
    assert [(each.id, each.status, each.reason) for each in found] == [
        ("A", "failed", "truncated"),
        ("B", "ok", ""),
        ("C", "failed", "missing"),
        ("D", "failed", "no_answer"),
        ("E", "failed", "empty"),
    ]


def test_probabilities_come_in_the_order_of_the_classes(tmp_path):
    found = read_one(tmp_path, GOOD)
    assert (found.label, found.confidence, found.probabilities) == ("dog", 0.7, (0.2, 0.7, 0.1))


BAD = {
    "not JSON": "{",
    "empty": "",
    "NaN": json.dumps(GOOD).replace("0.7", "NaN"),
    "infinite": json.dumps(GOOD).replace("0.7", "1e999"),
    "no object": "[1, 2]",
    "deep": "[" * 100_000,
    "of another status": {**GOOD, "status": "fine"},
    "without probabilities": {**GOOD, "probabilities": None},
    "of other classes": {**GOOD, "probabilities": {"cat": 0.3, "dog": 0.7}},
    "negative": {**GOOD, "probabilities": {"cat": -0.1, "dog": 0.7, "hog": 0.4}},
    "no numbers": {**GOOD, "probabilities": {"cat": "0.2", "dog": 0.7, "hog": True}},
    "not summing to 1": {**GOOD, "probabilities": {"cat": 0.2, "dog": 0.7, "hog": 0.3}},
    "of an unknown label": {**GOOD, "label": "cow"},
    "of another label than the most probable": {**GOOD, "label": "cat"},
    "a label that is a list": {**GOOD, "label": ["dog"]},
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_an_answer_that_cannot_be_used_is_a_failed_row(content, tmp_path):
    found = read_one(tmp_path, content)
    assert (found.status, found.reason, found.probabilities) == ("failed", "bad_answer", None)


def test_bytes_that_are_no_text_are_a_bad_answer(tmp_path):
    (tmp_path / "a.jpg.out").write_bytes(b"\xff\xfe\x00")
    assert read_answers(tmp_path, index(("a.jpg", "A", "", "")), CLASSES)[0].reason == "bad_answer"


def test_answers_for_unknown_inputs_are_an_error_that_lists_some(tmp_path):
    for number in range(5):
        answer(tmp_path, f"x{number}.jpg", GOOD)
    with pytest.raises(TraplineError, match=r"5 answers .* \(x0.jpg, x1.jpg, x2.jpg, and 2 more\)"):
        read_answers(tmp_path, index(("a.jpg", "A", "", "")), CLASSES)


def test_two_answers_for_one_input_are_an_error(tmp_path):
    answer(tmp_path, "a.jpg", GOOD)
    answer(tmp_path, "a.jpg", GOOD, below="of-an-earlier-run")
    with pytest.raises(TraplineError, match=r"1 inputs have several answers \(a.jpg\)"):
        read_answers(tmp_path, index(("a.jpg", "A", "", "")), CLASSES)


def test_a_folder_without_answers_is_an_error_unless_nothing_was_asked(tmp_path):
    with pytest.raises(TraplineError, match=r"holds no \.out file"):
        read_answers(tmp_path, index(("a.jpg", "A", "", "")), CLASSES)
    found = read_answers(tmp_path, index(("", "C", "missing", "")), CLASSES)
    assert [each.reason for each in found] == ["missing"]
    assert read_answers(tmp_path, index(), CLASSES) == []


SEVERAL = {
    "status": "ok",
    "label": "dog",
    "labels": ["hog", "dog"],
    "probabilities": {"cat": 0.2, "dog": 0.7, "hog": 0.6},
}


def test_labels_of_several_are_written_as_the_sources_codes_and_empty_where_it_failed(tmp_path):
    answer(tmp_path, "a.jpg", SEVERAL)
    rows = index(("a.jpg", "A", "", ""), ("b.jpg", "B", "", ""))
    answers = read_answers(tmp_path, rows, CLASSES, multilabel=True)
    assert answers[0].labels == ("dog", "hog")
    for codes, expected in ((["n1", "n7", "n9"], "n7 n9"), (None, "dog hog")):
        write_label_predictions(tmp_path / "labels.csv", answers, CLASSES, codes)
        assert (tmp_path / "labels.csv").read_text().split() == [
            "ImageID,Labels",
            *f"A,{expected} B,".split(),
        ]


@pytest.mark.parametrize("labels", [None, "dog", ["cow"]])
def test_an_answer_without_the_labels_of_the_classes_is_a_failed_row_where_there_may_be_several(
    labels, tmp_path
):
    answer(tmp_path, "a.jpg", {**SEVERAL, "labels": labels})
    found = read_answers(tmp_path, index(("a.jpg", "A", "", "")), CLASSES, multilabel=True)
    assert found[0].reason == "bad_answer"


def test_label_predictions_are_for_programs_and_exact(tmp_path):
    answers = [Answer("=A", "ok", "", "=cmd", (0.9, 0.1), labels=("=cmd", "-x"))]
    write_label_predictions(tmp_path / "l.csv", answers, ["=cmd", "-x"], None)
    assert (tmp_path / "l.csv").read_text().splitlines() == ["ImageID,Labels", "=A,=cmd -x"]


def test_the_index_of_inputs_is_read_exactly(tmp_path):
    (tmp_path / "transform").mkdir()
    (tmp_path / "transform" / "index.csv").write_text("name,id,reason,detail\n'=a.jpg,'=A,,'-x\n")
    assert read_index(tmp_path).iloc[0].tolist() == ["'=a.jpg", "'=A", "", "'-x"]
