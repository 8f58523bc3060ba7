import cv2
import numpy as np
import pyarrow as pa
import pytest

from trapline.data.prepared import SCHEMA, PackedPart, Split
from trapline.errors import TraplineError
from trapline.evaluation.result_files import write_test_predictions
from trapline.images.canonical import encode_jpeg
from trapline.reports.mistakes import MAX_SIDE, most_confident_errors

CLASSES = ["cat", "dog"]


@pytest.fixture
def part(tmp_path):
    """Eight images A to H, each of a grey of its own; C and D are of one sequence."""
    sequences = [None, None, "burst", "burst", None, None, None, None]
    rows = [
        {
            "id": name, "image": encode_jpeg(np.full((300, 600, 3), 20 * number, dtype=np.uint8)),
            "labels": [0], "site": "S1", "sequence": sequences[number], "width": 600, "height": 300,
            "sha256": name, "weight": 1.0,
        }
        for number, name in enumerate("ABCDEFGH")
    ]  # fmt: skip
    path = tmp_path / "test" / "test-00000.arrow"
    path.parent.mkdir()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return PackedPart((path,))


@pytest.fixture
def table(tmp_path):
    """All are cats; B to F are taken for dogs, ever more surely."""

    def write(names="ABCDEFGH"):
        dog = np.array([0.1, 0.6, 0.7, 0.8, 0.9, 0.95, 0.2, 0.3])
        facts = {"id": list(names), "site": ["S1"] * 7 + [None]}
        path = tmp_path / "test_predictions.csv"
        labels = np.zeros(8, dtype=np.int64)
        write_test_predictions(path, facts, labels, np.column_stack([1 - dog, dog]), CLASSES)
        return path

    return write


def test_the_surest_errors_come_first_and_one_of_each_sequence(table, part):
    found = most_confident_errors(table(), part)
    assert found["id"].tolist() == ["F", "E", "D", "B"]
    assert found["confidence"].tolist() == [0.95, 0.9, 0.8, 0.6]
    assert set(zip(found["label"], found["predicted"], strict=True)) == {("cat", "dog")}
    assert len(most_confident_errors(table(), part, limit=2)) == 2


def test_each_picture_is_that_of_its_image_and_small(table, part):
    for mistake in most_confident_errors(table(), part).itertuples():
        picture = cv2.imdecode(np.frombuffer(mistake.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert max(picture.shape) == MAX_SIDE
        assert picture.mean() == pytest.approx(20 * "ABCDEFGH".index(mistake.id), abs=2)


def test_a_table_of_other_images_or_without_numbers_is_refused(table, part):
    with pytest.raises(TraplineError, match="X is not in the test part"):
        most_confident_errors(table("ABCDEXGH"), part)
    path = table()
    path.write_text(path.read_text().replace("0.95", "sure"))
    with pytest.raises(TraplineError, match=r"test_predictions.csv: confidence: .*evaluate again"):
        most_confident_errors(path, part)


def test_classes_sites_and_ids_called_like_formulas_are_shown_as_they_are(part, tmp_path):
    facts = {"id": list("ABCDEFGH"), "site": ["=S1"] * 8}
    dog = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.95, 0.2, 0.3])
    path = tmp_path / "test_predictions.csv"
    probabilities = np.column_stack([1 - dog, dog])
    write_test_predictions(path, facts, np.zeros(8, dtype=np.int64), probabilities, ["=cat", "'-dog"])
    assert ",'=S1,'=cat,''-dog," in path.read_text()
    (mistake,) = most_confident_errors(path, part).itertuples()
    assert (mistake.site, mistake.label, mistake.predicted) == ("=S1", "=cat", "'-dog")


@pytest.mark.parametrize("sequences", [["burst", "burst "], ["1", "1.0"]])
def test_one_sequence_in_two_spellings_is_one(table, part, sequences):
    column = pa.array([None, None, *sequences, None, None, None, None])
    # As a cached property keeps it.
    part.__dict__["table"] = part.table.set_column(4, "sequence", column)
    assert most_confident_errors(table(), part)["id"].tolist() == ["F", "E", "D", "B"]


@pytest.mark.parametrize(
    ("scope", "errors"), [("by_site", ["F", "E", "D", "C", "B"]), ("global", ["F", "E", "D", "B"])]
)
def test_sequences_of_one_name_at_two_cameras_are_two_where_the_set_says_so(table, part, scope, errors):
    changed = part.table.set_column(3, "site", pa.array(["S1", "S1", "S1", "S2", "S1", "S1", "S1", "S1"]))
    column = pa.array([None, None, "1", "1", None, None, None, None])
    part.__dict__["table"] = changed.set_column(4, "sequence", column)
    split = Split(kind="site", shares={}, seed=0, unseen_sites=True, sequences=scope)
    assert most_confident_errors(table(), part, split=split)["id"].tolist() == list(errors)
