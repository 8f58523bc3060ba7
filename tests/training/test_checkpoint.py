import torch

from trapline.training.checkpoint import Checkpoints, job_key


def state(number):
    return {"weights": torch.full((3,), float(number)), "history": [{"epoch": number}]}


def saved(folder, *epochs):
    checkpoints = Checkpoints(folder, job_key("code", "data"))
    for epoch in epochs:
        checkpoints.save(epoch, state(epoch))
    return checkpoints


def test_the_newest_state_comes_back_whole(tmp_path):
    loaded = saved(tmp_path, 1, 2, 3).load()
    assert torch.equal(loaded["weights"], state(3)["weights"])
    assert loaded["history"] == [{"epoch": 3}]


def test_only_the_two_newest_are_kept(tmp_path):
    folder = saved(tmp_path, 1, 2, 3, 10).folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-00003.json", "epoch-00003.pt", "epoch-00010.json", "epoch-00010.pt",
    ]  # fmt: skip


def test_nothing_saved_is_nothing_loaded(tmp_path):
    assert saved(tmp_path).load() is None


def test_a_damaged_newest_is_set_aside_and_the_one_before_it_used(tmp_path, capsys):
    checkpoints = saved(tmp_path, 1, 2)
    newest = checkpoints.folder / "epoch-00002.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert checkpoints.load()["history"] == [{"epoch": 1}]
    assert "epoch-00002.pt is damaged" in capsys.readouterr().out
    assert (checkpoints.folder / "epoch-00002.pt.damaged").exists()
    checkpoints.save(2, state(2))
    assert checkpoints.load()["history"] == [{"epoch": 2}]


def test_a_cut_or_missing_file_counts_as_damaged(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3)
    (checkpoints.folder / "epoch-00003.pt").unlink()
    (checkpoints.folder / "epoch-00002.json").write_text("{")
    assert checkpoints.load() is None
    assert saved(tmp_path, 1).load()["history"] == [{"epoch": 1}]


def test_a_state_whose_writing_was_cut_short_is_not_seen(tmp_path):
    checkpoints = saved(tmp_path, 1)
    (checkpoints.folder / "epoch-00002.pt").write_bytes(b"half")  # the marker was never written
    assert checkpoints.load()["history"] == [{"epoch": 1}]


def test_another_job_in_the_same_folder_is_not_resumed(tmp_path):
    saved(tmp_path, 1)
    assert Checkpoints(tmp_path, job_key("other code", "data")).load() is None


def test_the_key_depends_on_each_digest_and_its_place():
    keys = {job_key("a", "b"), job_key("b", "a"), job_key("ab", ""), job_key("a", "b", "c")}
    assert len(keys) == 4


def test_clearing_removes_the_jobs_own_folder_alone(tmp_path):
    mine, other = saved(tmp_path, 1), Checkpoints(tmp_path, job_key("x"))
    other.save(1, state(1))
    mine.clear()
    mine.clear()
    assert list(tmp_path.iterdir()) == [other.folder]
