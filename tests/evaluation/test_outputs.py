from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from trapline.data.prepared import SCHEMA, PackedPart
from trapline.errors import TraplineError
from trapline.evaluation.choices import BATCH, view_logits
from trapline.evaluation.measured import clusters_of
from trapline.images.canonical import encode_jpeg


@pytest.fixture
def part(tmp_path):
    """Write a part of grey images: (greys, sites) -> PackedPart; a grey of None is a damaged image."""

    def write(greys, sites):
        rows = [
            {
                "id": f"I{number}", "labels": [0], "site": site, "weight": 1.0,
                "image": b"no" if grey is None else encode_jpeg(np.full((8, 8, 3), grey, dtype=np.uint8)),
            }
            for number, (grey, site) in enumerate(zip(greys, sites, strict=True))
        ]  # fmt: skip
        path = tmp_path / "val" / "val-00000.arrow"
        path.parent.mkdir(exist_ok=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        return PackedPart((path,))

    return write


def answering(answer):
    """A predictor of two views whose logits are `answer` of the mean grey."""

    def logits(images):
        values = [answer(float(pixels.mean())) for pixels in images]
        return np.array([[[value, 0], [-value, 0]] for value in values], dtype=np.float32)

    description = SimpleNamespace(averaging="logits", task="multiclass")
    return SimpleNamespace(description=description, views=("plain", "horizontal_flip"), view_logits=logits)


def test_every_image_has_its_outputs_in_the_order_of_the_part(part):
    greys = np.arange(BATCH * 2 + 3) % 200
    found = view_logits(answering(lambda grey: grey), part(greys.tolist(), ["S"] * len(greys)), "test")
    assert found.logits.shape == (len(greys), 2, 2)
    assert found.averaged(["plain"])[:, 0] == pytest.approx(greys, abs=1.5)
    assert found.averaged(["plain", "horizontal_flip"])[:, 0] == pytest.approx(0 * greys)


def test_a_damaged_image_is_named(part):
    with pytest.raises(TraplineError, match=r"val: image I1 is damaged .*prepare again"):
        view_logits(answering(lambda grey: grey), part([10, None], ["S", "S"]), "test")


def test_an_image_whose_outputs_are_no_numbers_is_named(part):
    broken = answering(lambda grey: np.inf if grey > 100 else grey)
    with pytest.raises(TraplineError, match=r"image I2: the model's outputs are no finite numbers"):
        view_logits(broken, part([10, 20, 200], ["S", "S", "S"]), "test")


def test_the_images_of_a_site_belong_together(part):
    found = clusters_of(part([1, 2, 3, 4], ["b", "a", "b", "c"]))
    assert (found.names, found.numbers.tolist()) == (["a", "b", "c"], [1, 0, 1, 2])
    assert (found.unit, found.count) == ("site", 3)


def test_where_a_site_is_missing_every_image_stands_alone(part):
    found = clusters_of(part([1, 2, 3], ["b", None, "b"]))
    assert (found.names, found.numbers.tolist(), found.unit) == (None, [0, 1, 2], "image")
