"""Frames of one burst are never on both sides of a split that Trapline makes."""

import pytest

from tests.support.disk import competition, divided, put, read


def bursts(folder, site, frames=3, number=18, sequence="q{}"):
    """`number` bursts of `frames` images; site(burst) and sequence(burst) as given."""
    rows = [
        f"i{n},img/i{n}.jpg,{site(n // frames)},{sequence.format(n // frames)}"
        for n in range(number * frames)
    ]
    return put(
        folder, {k: v if ".csv" in k else "" for k, v in competition(rows, "id,filepath,site,Seq_ID").items()}
    )


@pytest.mark.parametrize(
    ("kind", "sites"), [("random", 6), ("random", 0), ("site", 6), (None, 6), (None, 0)], ids=str
)
def test_a_burst_is_in_one_part(tmp_path, kind, sites):
    parts = divided(bursts(tmp_path, lambda burst: f"s{burst % sites}" if sites else ""), kind)
    for burst in range(18):
        assert len({parts[f"i{3 * burst + frame}"] for frame in range(3)}) == 1
    assert {"train", "val"} <= set(parts.values())


def test_two_cameras_that_see_one_burst_are_in_one_part(tmp_path):
    source = bursts(tmp_path, lambda burst: f"s{burst % 6}")
    text = (source / "train_features.csv").read_text().replace("i0,img/i0.jpg,s0,q0", "i0,img/i0.jpg,s5,q0")
    (source / "train_features.csv").write_text(text)
    parts = divided(source)
    assert len({parts[f"i{3 * burst + frame}"] for burst in (0, 5, 6, 11, 12, 17) for frame in range(3)}) == 1


def test_cameras_that_each_count_from_one_are_not_joined(tmp_path):
    rows = [f"i{n},img/i{n}.jpg,s{n % 6},{n // 12}" for n in range(48)]
    put(tmp_path, competition(rows, "id,filepath,site,sequence"))
    parts = divided(tmp_path)
    assert set(parts.values()) == {"train", "val", "test"}
    assert all(parts[f"i{n}"] == parts[f"i{n % 6}"] for n in range(48))


def test_spellings_of_a_sequence_are_one_but_never_across_case(tmp_path):
    names = ["q1", "q1 ", "q\u200b1", "Q1", "q2", "q2"]
    put(
        tmp_path,
        competition(
            [f"i{n},img/i{n}.jpg,s,{name}" for n, name in enumerate(names)], "id,filepath,site,sequence"
        ),
    )
    assert read(tmp_path).images["sequence"].tolist() == ["q1", "q1", "q1", "Q1", "q2", "q2"]
