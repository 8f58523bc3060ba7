"""Files from strangers as images to be predicted: each costs itself, and says why."""

import pytest

from tests.support import hostile_images as hostile
from tests.support.predicting import answers, options, put_pictures
from tests.support.predicting import small_model as small_model

WORST = {
    "huge.png": lambda: hostile.png(100_000, 100_000, data=b"\0" * 10),
    "bomb.webp": lambda: hostile.webp_lossless(16_383, 16_383),
    "canvas.webp": lambda: hostile.webp_extended(16_000, 16_000),
    "chunks.png": lambda: hostile.png_of_chunks(200_000),
    "tile.tif": lambda: hostile.tiled_tiff(16, 60_000),
    "scans.jpg": lambda: hostile.jpeg_of_scans(4000, 4000, 500),
    "announced.avif": lambda: hostile.avif_header(60_000, 60_000),
    "empty.jpg": lambda: b"",
}


def test_the_worst_files_have_a_reason_each_and_the_good_ones_their_answers(tmp_path, small_model):
    photos = put_pictures(tmp_path / "photos", [f"good-{number}.jpg" for number in range(5)])
    for name, made in WORST.items():
        (photos / name).write_bytes(made())
    (photos / "pipe.jpg").symlink_to("/dev/zero")
    (photos / "-rf.jpg").write_bytes((photos / "good-0.jpg").read_bytes())
    found, _ = answers(small_model, options(tmp_path / "out", photos))
    for number in range(5):
        assert found["status"][f"good-{number}.jpg"] == "ok"
    assert found["given"]["-rf.jpg"] == pytest.approx(found["given"]["good-0.jpg"], abs=1e-6)
    bad = found[found["status"] == "failed"]
    assert {*WORST} - {"chunks.png", "scans.jpg"} <= set(bad.index)
    assert bad["reason"].notna().all()
    assert bad["detail"].notna().all()
    assert set(found.index) >= {*WORST, "-rf.jpg"}
    assert "pipe.jpg" not in found.index or found["status"]["pipe.jpg"] == "failed"
