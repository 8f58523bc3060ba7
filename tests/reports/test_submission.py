import unicodedata

import numpy as np
import pandas as pd
import pytest

from trapline.errors import TraplineError
from trapline.reports.answer_tables import (
    Answer,
    SubmissionFormat,
    check_submission,
    read_format,
    write_submission,
)

CLASSES = ["cat", "dog", "hog"]
PRIOR = np.array([0.5, 0.25, 0.25])


def predicted(name, *probabilities):
    return Answer(name, "ok", "", CLASSES[int(np.argmax(probabilities))], probabilities)


ANSWERS = [
    predicted("1", 0.2, 0.7, 0.1),
    Answer("2", "failed", "truncated"),
    predicted("3", 1 / 3, 1 / 3, 1 / 3),
]


@pytest.fixture
def asked(tmp_path):
    """A format with its columns and its ids in an order of its own: (text of ids) -> path."""

    def write(ids="3,1,2", header="id,hog,cat,dog"):
        path = tmp_path / "submission_format.csv"
        path.write_text("\n".join([header, *(f"{name},0.4,0.3,0.3" for name in ids.split(","))]) + "\n")
        return path

    return write


def submit(path, answers=ANSWERS):
    target = path.with_name("submission.csv")
    done = write_submission(target, read_format(path, CLASSES), answers, CLASSES, PRIOR)
    return done, pd.read_csv(target, dtype={"id": str})


def test_ids_and_columns_stand_in_the_order_that_is_asked_for(asked):
    done, table = submit(asked())
    assert table["id"].tolist() == ["3", "1", "2"]
    assert table.columns.tolist() == ["id", "hog", "cat", "dog"]
    assert table.loc[1, CLASSES].tolist() == pytest.approx([0.2, 0.7, 0.1])
    assert (done.rows, done.left_out) == (3, 0)


def test_an_input_that_failed_gets_the_class_prior_and_is_counted(asked):
    done, table = submit(asked())
    assert table.loc[2, CLASSES].tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert done.by_prior == 1


def test_rows_sum_to_1_though_answers_are_rounded(asked):
    rounded = [predicted("1", 0.3333, 0.3333, 0.3333), *ANSWERS[1:]]
    _, table = submit(asked(), rounded)
    assert table[CLASSES].sum(axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-8)


def test_predictions_that_are_not_asked_for_are_left_out_and_counted(asked):
    done, table = submit(asked("3"))
    assert (len(table), done.left_out) == (1, 2)


def test_the_first_of_two_rows_with_one_id_counts(asked):
    _, table = submit(asked("1"), [ANSWERS[0], Answer("1", "failed", "duplicate_id")])
    assert table.loc[0, "dog"] == pytest.approx(0.7)


def test_an_id_that_is_no_input_is_named(asked):
    with pytest.raises(TraplineError, match=r"asks for 2 ids that are no inputs \(8, 9\)"):
        submit(asked("1,8,9"))


def test_a_format_of_other_classes_or_with_an_id_twice_is_refused(asked):
    with pytest.raises(TraplineError, match=r"its columns \(id, cat, dog, fox\) are not id and"):
        read_format(asked(header="id,cat,dog,fox"), CLASSES)
    with pytest.raises(TraplineError, match="line 2 has 4 cells, its header 3"):
        read_format(asked(header="id,cat,dog"), CLASSES)
    with pytest.raises(TraplineError, match=r"1 ids are there twice \(1\)"):
        read_format(asked("1,1,2"), CLASSES)
    with pytest.raises(TraplineError, match="lacks the column id"):
        read_format(asked(header="name,hog,cat,dog"), CLASSES)


FAULTS = {
    "columns": ("id,cat,dog,hog\n1,0.2,0.7,0.1\n2,1,0,0\n", "columns are not those"),
    "ids": ("id,hog,cat,dog\n2,1,0,0\n1,0.2,0.7,0.1\n", "ids are not those"),
    "a row that lacks": ("id,hog,cat,dog\n1,1,0,0\n", "ids are not those"),
    "a sum": ("id,hog,cat,dog\n1,1,0,0\n2,0.5,0.4,0.05\n", "2: its probabilities"),
    "an empty cell": ("id,hog,cat,dog\n1,1,0,0\n2,0.5,,0.5\n", "no number"),
    "NaN": ("id,hog,cat,dog\n1,1,0,0\n2,0.5,nan,0.5\n", "2: its probabilities"),
    "infinity": ("id,hog,cat,dog\n1,inf,0,0\n2,0.5,0,0.5\n", "1: its probabilities"),
    "a negative number": ("id,hog,cat,dog\n1,1.5,-0.5,0\n2,0.5,0,0.5\n", "1: its probabilities"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_every_fault_of_a_submission_is_found(text, message, tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text(text)
    wanted = SubmissionFormat(tmp_path / "submission_format.csv", ["1", "2"], ["id", "hog", "cat", "dog"])
    with pytest.raises(TraplineError, match=message):
        check_submission(path, wanted)


E_COMPOSED, E_APART = (unicodedata.normalize(form, "\u00e9l\u00e9phant") for form in ("NFC", "NFD"))
SPELLINGS = {
    "composed or not": (E_APART, E_COMPOSED),
    "not composed or composed": (E_COMPOSED, E_APART),
    "a blank at the end": ("ZJ1 ", "ZJ1"),
    "two blanks": ("ZJ  1", "ZJ 1"),
    "no width": ("ZJ1", "ZJ\u200b1"),
    "12 and 12.0": ("12", "12.0"),
    "12.0 and 12": ("12.0", "12"),
}


@pytest.mark.parametrize(("wanted", "given"), SPELLINGS.values(), ids=SPELLINGS)
def test_an_id_that_is_spelt_otherwise_is_found_and_written_as_the_format_has_it(asked, wanted, given):
    done, _ = submit(asked(f"3,{wanted}"), [predicted(given, 0.2, 0.7, 0.1), ANSWERS[2]])
    rows = asked().with_name("submission.csv").read_bytes().decode().splitlines()
    assert rows[2] == f"{wanted},0.1,0.2,0.7"
    assert (done.rows, done.by_prior, done.left_out) == (2, 0, 0)


def test_numbers_stay_apart_where_not_all_ids_are_whole_numbers(asked):
    with pytest.raises(TraplineError, match=r"no inputs \(12\)"):
        submit(asked("12,x"), [predicted("12.0", 1, 0, 0), predicted("x", 1, 0, 0)])


def test_the_same_text_comes_before_the_same_key(asked):
    answers = [predicted("A ", 0, 1, 0), predicted("A", 1, 0, 0)]
    done, table = submit(asked("A"), answers)
    assert (table.loc[0, "cat"], done.left_out) == (1, 1)


def test_an_answer_is_that_of_one_id(asked):
    with pytest.raises(TraplineError, match="asks for 1 ids that are no inputs"):
        submit(asked("A,A "), [predicted("A", 1, 0, 0)])


@pytest.mark.parametrize("ids", ["A", "A  ,A   "])
def test_ids_of_which_either_may_be_meant_are_named(asked, ids):
    with pytest.raises(
        TraplineError, match=r"submission_format\.csv: id .* in their spelling alone"
    ) as error:
        submit(asked(ids), [predicted("A ", 0, 1, 0), predicted(" A", 1, 0, 0)])
    assert "'A ' and ' A'" in str(error.value)


def test_two_ids_of_the_format_may_not_ask_for_one_answer(asked):
    with pytest.raises(TraplineError, match="'A ' and ' A' differ in their spelling alone"):
        submit(asked("A , A"), [predicted("A", 0, 1, 0)])


def test_classes_are_found_by_their_key_and_written_as_the_format_has_them(asked):
    done, table = submit(asked(header="id,Hog ,CAT,dog"))
    assert table.columns.tolist() == ["id", "Hog ", "CAT", "dog"]
    assert table.loc[1, ["CAT", "dog", "Hog "]].tolist() == pytest.approx([0.2, 0.7, 0.1])
    assert done.rows == 3


def test_two_columns_of_one_class_are_refused(asked):
    with pytest.raises(TraplineError, match="class 'Cat' and 'CAT' differ in their spelling alone"):
        read_format(asked(header="id,Cat,CAT,dog"), CLASSES)
    with pytest.raises(TraplineError, match=r"its columns \(id, cat, CAT, dog\) are not id and the classes"):
        read_format(asked(header="id,cat,CAT,dog"), CLASSES)


def test_formulas_stay_as_they_are_in_a_submission(asked):
    classes = ["=cat", "'-dog", "+hog"]
    path = asked("=1,'=2", header="id,+hog,=cat,'-dog")
    answers = [Answer(name, "ok", "", "=cat", (0.5, 0.25, 0.25)) for name in ("=1", "'=2")]
    target = path.with_name("submission.csv")
    write_submission(target, read_format(path, classes), answers, classes, PRIOR)
    assert target.read_text().splitlines() == ["id,+hog,=cat,'-dog", "=1,0.25,0.5,0.25", "'=2,0.25,0.5,0.25"]
