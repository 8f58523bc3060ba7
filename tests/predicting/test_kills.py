"""A pass that is killed at random moments and started again ends with the same files."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.support.predicting import journalled, put_pictures
from tests.support.predicting import small_model as small_model

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("TRAPLINE_KILLS", "4"))
FORMATS = ["csv", "megadetector", "timelapse", "coco"]


def command(model, photos, output):
    words = [
        "--output",
        str(output),
        "--formats",
        *FORMATS,
        "--precision",
        "fp32",
        "--sort",
        f"{output}-by-class",
    ]
    return [sys.executable, str(ROOT / "launch" / "predict.py"), str(model), str(photos), *words]


def contents(output, model_written):
    """The files of a run by name; the moment at which it began is another one."""
    found = {}
    for path in sorted(output.rglob("*")):
        if path.is_file() and ".predicting" not in path.parts:
            found[path.relative_to(output).as_posix()] = path.read_bytes().replace(model_written, b"WHEN")
    return found


def begun(output):
    """When the run says that it began, as MegaDetector's file has it."""
    text = (output / "megadetector.json").read_text()
    return text.partition('"detection_completion_time": "')[2].partition('"')[0].encode()


def test_killed_many_times_and_started_again_it_ends_with_the_same_files(tmp_path, small_model, monkeypatch):
    names = [f"cam{number // 400}/IMG_{number:05d}.jpg" for number in range(1600)]
    photos = put_pictures(tmp_path / "photos", [*names, "cam0/damaged.jpg"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    moments = random.Random(0)
    started = time.monotonic()
    subprocess.run(command(small_model, photos, tmp_path / "whole"), env=environment, check=True)
    needed = time.monotonic() - started
    done = 0
    for _ in range(TIMES):
        process = subprocess.Popen(command(small_model, photos, tmp_path / "killed"), env=environment)
        time.sleep(moments.uniform(0.3, 0.9) * needed)
        process.send_signal(signal.SIGKILL)
        process.wait()
        journal = tmp_path / "killed" / ".predicting" / "shards.jsonl"
        kept = len(journal.read_text().splitlines()) if journal.exists() else 0
        assert kept >= done
        done = kept
    subprocess.run(command(small_model, photos, tmp_path / "killed"), env=environment, check=True)
    numbers = [number for number, _, _ in journalled(tmp_path / "killed")]
    assert len(numbers) == len(set(numbers)) == 7  # no shard was made twice
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    first, second = contents(whole, begun(whole)), contents(killed, begun(killed))
    day = {name for name in first if first[name] != second.get(name)}
    assert day <= {"coco.json"}  # which has the moment in another form
    assert first.keys() == second.keys()
    one, two = (
        sorted(p.name for p in (tmp_path / f"{name}-by-class").rglob("*")) for name in ("whole", "killed")
    )
    assert one == two
