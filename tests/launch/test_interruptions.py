"""Kills at any moment: nothing is left after the next command, and a restart goes on."""

import random
import signal
import time

import psutil
import pytest

from common import metrics
from tests.launch.launching import Place, record, rows, tiny, wait_for

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.slow

MOMENTS = 10
LONGEST = 9.0  # seconds: from loading Python to packing the artefact
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGKILL of the launcher": signal.SIGKILL}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize("how", SIGNALS)
def test_at_ten_random_moments_nothing_is_left_after_the_next_command(place, small_demo, how):
    moments = random.Random(how)
    arguments = ["--backend", "process", "--prepared", small_demo, *tiny(epochs=2)]
    for number in range(MOMENTS):
        output = place.folder / f"output-{number}.txt"
        launcher = place.start("resnet18_baseline", *arguments, output=output)
        time.sleep(moments.uniform(0, LONGEST))
        launcher.send_signal(SIGNALS[how])
        code = launcher.wait(60)
        said = output.read_text()
        if SIGNALS[how] == signal.SIGINT:
            assert code in (0, 130), said  # 0: it had ended before
            assert "Traceback" not in said, said
            assert place.leftovers() == []
    done = place.run("resnet18_baseline", *arguments)
    assert done.returncode == 0, done.stderr
    assert place.leftovers() == []
    finished = [run for run in (place.folder / "runs").glob("resnet18-*") if (run / "model.tar.gz").exists()]
    histories = [
        [
            {metric.name: row[metric.name] for metric in metrics.REGISTRY if metric.deterministic}
            for row in table
        ]
        for table in (rows(run / "metrics.csv") for run in finished)
    ]
    assert all(history == histories[0] for history in histories)
    if SIGNALS[how] == signal.SIGINT:
        states = {record(run)["status"] for run in (place.folder / "runs").glob("resnet18-*")}
        assert states <= {"Stopped", "Completed"}


@pytest.mark.parametrize("name", ["train.py", "sagemaker_training", "supervisor.py"])
def test_a_killed_part_of_the_job_ends_it_with_a_message(place, small_demo, name, tmp_path):
    output = tmp_path / "output.txt"
    arguments = ["--backend", "process", "--prepared", small_demo, *tiny(epochs=5000)]
    launcher = place.start("resnet18_baseline", *arguments, output=output)
    wait_for("epoch=1 ", output, launcher)
    family = psutil.Process(launcher.pid).children(recursive=True)
    (victim, *_) = [process for process in family if name in " ".join(process.cmdline())]
    victim.kill()
    assert launcher.wait(60) == 1
    assert "error: " in output.read_text()
    (run,) = (place.folder / "runs").glob("resnet18-*")
    assert record(run)["status"] == "Failed"
    assert not (run / "model.tar.gz").exists()
    assert len(rows(run / "metrics.csv")) >= 1
    assert place.leftovers() == []
