import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pandas as pd
import pytest

from tests.conftest import ENTRY_POINTS, write_jpeg
from trapline.data.prepared import open_prepared

ALL_PARTS = ("train", "val", "test", "unlabeled")


def rows(folder):
    prepared = open_prepared(folder)
    tables = {part: prepared.part(part).table for part in ALL_PARTS}
    frames = {part: t.select(["id", "labels", "site", "sha256"]).to_pandas() for part, t in tables.items()}
    return pd.concat(frames, names=["part"]).reset_index("part")


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def quarantine(folder):
    return pd.read_csv(folder / "quarantine.csv", keep_default_na=False)


def test_every_demo_input_is_in_a_part_or_in_quarantine(small_demo):
    inputs = Counter([*rows(small_demo)["id"], *quarantine(small_demo)["id"]])
    assert len(inputs) == 160 + 104
    assert max(inputs.values()) == 1
    assert summary(small_demo)["inputs"] == 160 + 104
    assert set(quarantine(small_demo)["reason"]) == {"empty", "missing", "not_an_image", "truncated"}


def test_no_site_is_in_two_parts_and_the_classes_are_spread(small_demo):
    labelled = rows(small_demo).query("part != 'unlabeled'")
    assert labelled.groupby("site")["part"].nunique().max() == 1
    assert summary(small_demo)["leakage_gap"]["accuracy_gap"] > 0
    assert "unseen cameras" in summary(small_demo)["claim"]


def test_the_demo_is_said_to_be_drawn(small_demo):
    assert json.loads((small_demo / "dataset.json").read_text())["drawn"] is True


def test_the_unlabelled_images_lie_as_they_came_damaged_ones_included_and_nothing_else(small_demo):
    index = pd.read_csv(small_demo / "transform" / "index.csv", keep_default_na=False)
    files = {path.name: path for path in (small_demo / "transform" / "images").iterdir()}
    assert len(index) == 104
    assert set(index["name"]) - {""} == files.keys()
    assert set(index.loc[index["reason"] == "", "id"]) == set(
        rows(small_demo).query("part == 'unlabeled'")["id"]
    )
    assert set(index.loc[index["name"] == "", "reason"]) == {"missing", "empty", "not_an_image"}
    damaged = index[(index["reason"] != "") & (index["name"] != "")]
    assert len(damaged) > 0


@pytest.mark.slow
def test_preparing_again_gives_the_same_set(small_demo, tmp_path, run_script):
    done = run_script(
        "prepare.py", "--input", "demo", "--output", tmp_path / "again", "--short-side", 64,
        "--demo-images", 160, "--demo-unlabeled", 104, "--demo-sites", 12, "--max-quarantine", 0.2,
        "--processes", 2,
    )  # fmt: skip
    assert done.returncode == 0
    first, again = (json.loads((f / "dataset.json").read_text()) for f in (small_demo, tmp_path / "again"))
    assert first == again
    for part in ALL_PARTS:
        for name in first["parts"][part]["files"]:
            assert (small_demo / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_class_folders_with_sites_are_split_by_site(class_folders, tmp_path, call_script):
    out = tmp_path / "out"
    done = call_script(
        "prepare.py", "--input", class_folders, "--output", out, "--site-regex", "(?P<site>s[0-9])_"
    )
    assert done.returncode == 0, done.stderr
    assert rows(out).groupby("site")["part"].nunique().max() == 1
    assert set(rows(out)["part"]) == {"train", "val", "test"}
    assert not (out / ".preparing").exists()


def test_without_sites_nothing_is_claimed(class_folders, tmp_path, call_script):
    done = call_script("prepare.py", "--input", class_folders, "--output", tmp_path / "out")
    assert "nothing can be claimed about cameras" in done.stdout
    assert summary(tmp_path / "out")["claim"].startswith("nothing can be claimed")
    assert summary(tmp_path / "out")["leakage_gap"] is None


def test_a_random_split_has_no_test_part_and_keeps_identical_images_together(
    class_folders, tmp_path, call_script
):
    for number in range(4):
        write_jpeg(class_folders / "cat" / f"twin{number}.jpg", seed=77)
    done = call_script(
        "prepare.py", "--input", class_folders, "--output", tmp_path / "out", "--split", "random"
    )
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "out")
    assert set(table["part"]) == {"train", "val"}
    assert table.groupby("sha256")["part"].nunique().max() == 1
    assert summary(tmp_path / "out")["duplicates"]["images"] == 4


def test_images_without_a_site_are_kept_out_of_a_split_by_site(class_folders, tmp_path, call_script):
    write_jpeg(class_folders / "cat" / "nowhere.jpg", seed=5)
    done = call_script(
        "prepare.py", "--input", class_folders, "--output", tmp_path / "out", "--site-regex", "(s[0-9])_"
    )
    assert done.returncode == 0, done.stderr
    assert quarantine(tmp_path / "out")[["id", "reason"]].values.tolist() == [
        ["cat/nowhere.jpg", "unknown_site"]
    ]


def test_too_much_in_quarantine_ends_the_run_after_writing_it_down(class_folders, tmp_path, call_script):
    for number in range(8):
        (class_folders / "cat" / f"bad{number}.jpg").write_text("no picture")
    done = call_script("prepare.py", "--input", class_folders, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "8 of 32 inputs cannot be used (8 not_an_image)" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert len(quarantine(tmp_path / "out")) == 8
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_names_from_another_encoding_are_kept(class_folders, tmp_path, call_script):
    (class_folders / "cat" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(
        (class_folders / "cat" / "s0_0.jpg").read_bytes()
    )
    (class_folders / "dog" / os.fsdecode(b"bad\xe9,\n.jpg")).write_text("x")
    done = call_script(
        "prepare.py", "--input", class_folders, "--output", tmp_path / "out", "--split", "random"
    )
    assert done.returncode == 0, done.stderr
    assert "cat/caf\\udce9.jpg" in set(rows(tmp_path / "out")["id"])
    assert quarantine(tmp_path / "out")["id"].tolist() == ["dog/bad\\udce9,\n.jpg"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--input"],
        [],
        ["--input", "demo"],
        ["--input", "demo", "--output", "x", "--split", "best"],
        ["--input", "demo", "--output", "x", "--shares", "0.5,0.5"],
        ["--input", "demo", "--output", "x", "--shares", "0.5,0.4,0.2"],
        ["--input", "demo", "--output", "x", "--short-side", "0"],
        ["--input", "demo", "--output", "x", "--short-side", "big"],
        ["--input", "demo", "--output", "x", "--quality", "101"],
        ["--input", "demo", "--output", "x", "--seed", "-1"],
        ["--input", "demo", "--output", "x", "--crop-bottom", "0.9"],
        ["--input", "demo", "--output", "x", "--max-quarantine", "2"],
        ["--input", "demo", "--output", "x", "--max-quarantine", "nan"],
        ["--input", "demo", "--output", "x", "--processes", "0"],
        ["--input", "demo", "--output", "x", "--demo-images", "0"],
        ["--input", "demo", "--output", "x", "--demo-images", "5"],
        ["--input", "demo", "--output", "x", "--demo-unlabeled", "-1"],
        ["--input", "demo", "--output", "x", "--demo-sites", "1"],
        ["--input", "demo", "--output", "x", "--site-regex", "("],
        ["--input", "demo", "--output", "x", "--site-regex", "(a)", "--site-csv", "b.csv"],
        ["--inputs", "demo", "--output", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_at_most_two_lines(tmp_path, call_script, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    done = call_script("prepare.py", *flags)
    assert done.returncode == 2, done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert done.stderr.startswith("error: ")


def test_a_single_class_and_an_unusable_class_are_refused(tmp_path, call_script):
    write_jpeg(tmp_path / "one" / "cat" / "a.jpg", 1)
    done = call_script("prepare.py", "--input", tmp_path / "one", "--output", tmp_path / "out")
    assert (done.returncode, "only one class (cat)" in done.stderr) == (1, True)
    (tmp_path / "one" / "dog").mkdir()
    (tmp_path / "one" / "dog" / "b.jpg").write_text("x")
    done = call_script(
        "prepare.py", "--input", tmp_path / "one", "--output", tmp_path / "out", "--max-quarantine", 1
    )
    assert (done.returncode, "no usable image of class dog" in done.stderr) == (1, True)


def test_a_missing_folder_and_an_output_that_is_a_file_are_named(tmp_path, call_script, class_folders):
    done = call_script("prepare.py", "--input", tmp_path / "absent", "--output", tmp_path / "out")
    assert (done.returncode, "no such folder" in done.stderr) == (1, True)
    (tmp_path / "file").touch()
    done = call_script("prepare.py", "--input", class_folders, "--output", tmp_path / "file")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Traceback" not in done.stderr


def test_two_sites_cannot_fill_three_parts(tmp_path, call_script):
    for label in ("cat", "dog"):
        for number in range(6):
            write_jpeg(tmp_path / "raw" / label / f"s{number % 2}_{number}.jpg", number)
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--site-regex", "(s[0-9])_"
    )
    assert done.returncode == 1
    assert "--split random" in done.stderr


def test_help_answers_without_heavy_imports():
    script = f"import sys; sys.argv = ['prepare.py', '--help']; sys.path.insert(0, {str(ENTRY_POINTS)!r})\n"
    script += "import prepare\ntry:\n    prepare.main()\nexcept SystemExit:\n    pass\n"
    script += "print({'torch', 'pandas', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_set_and_can_be_repeated(class_folders, tmp_path, call_script):
    for label in ("cat", "dog"):
        for number in range(400):
            write_jpeg(class_folders / label / f"s{number % 4}_more{number}.jpg", number)
    command = ["--input", class_folders, "--output", tmp_path / "out", "--site-regex", "(s[0-9])_"]
    process = subprocess.Popen(
        [sys.executable, ENTRY_POINTS / "prepare.py", *command],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    packed = tmp_path / "out" / ".preparing" / "packed.arrow"
    deadline = time.monotonic() + 60
    while not (packed.exists() and packed.stat().st_size > 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "dataset.json").exists()
    deadline = time.monotonic() + 20
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert members(process.pid) == []
    done = call_script("prepare.py", *command)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "out")) == 824
    assert not (tmp_path / "out" / ".preparing").exists()


def members(group):
    """The processes that are still in the killed run's process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [row for row in rows if row[0] == str(group) and not row[1].startswith("Z")]
