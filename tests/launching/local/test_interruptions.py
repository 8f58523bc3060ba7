"""Kills at any moment: nothing is left after the next command, and a restart goes on."""

import contextlib
import os
import random
import signal
import time

import psutil
import pytest

from tests.support.launching import Place, only_run, record, repeatable, rows, same, tiny, wait_for, weights

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.slow

MOMENTS = 4 * int(os.environ.get("TRAPLINE_KILLS", "1"))
LONGEST = 9.0  # seconds: from loading Python to packing the artefact
LONG = tiny(epochs=25)  # more than a job ends while it is being killed


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.end_started()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, small_demo):
    """The tensors of a job that nothing disturbed."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    done = place.run("resnet18_baseline", "--backend", "process", "--prepared", small_demo, *LONG)
    assert done.returncode == 0, done.stderr
    return weights(only_run(place.folder), place.folder / "model")


def test_ended_at_random_moments_nothing_is_left_after_the_next_command(place, small_demo):
    moments = random.Random(0)
    arguments = ["--backend", "process", "--prepared", small_demo, *tiny(epochs=2)]
    for number in range(MOMENTS):
        sent = (signal.SIGINT, signal.SIGKILL)[number % 2]
        output = place.folder / f"output-{number}.txt"
        launcher = place.start("resnet18_baseline", *arguments, output=output)
        time.sleep((number + moments.random()) * LONGEST / MOMENTS)
        launcher.send_signal(sent)
        code = launcher.wait(60)
        said = output.read_text()
        if sent == signal.SIGINT:
            assert code in (0, 130), said  # 0: it had ended before
            assert "Traceback" not in said, said
            assert place.leftovers() == []
    done = place.run("resnet18_baseline", *arguments)
    assert done.returncode == 0, done.stderr
    assert place.leftovers() == []
    finished = [run for run in (place.folder / "runs").glob("resnet18-*") if (run / "model.tar.gz").exists()]
    histories = [repeatable(run) for run in finished]
    assert all(history == histories[0] for history in histories)
    states = {record(run)["status"] for run in (place.folder / "runs").glob("resnet18-*")}
    assert "Completed" in states
    assert states <= {"Stopped", "Completed", "InProgress"}  # the last: of a launcher that was killed


@pytest.mark.parametrize("name", ["train.py", "sagemaker_training", "supervisor.py"])
def test_a_killed_part_of_the_job_ends_it_with_a_message(place, small_demo, name, tmp_path):
    output = tmp_path / "output.txt"
    arguments = ["--backend", "process", "--prepared", small_demo, *tiny(epochs=5000)]
    launcher = place.start("resnet18_baseline", *arguments, output=output)
    wait_for("epoch_2_start", output, launcher)  # metrics.csv is written after the line of epoch 1
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


def test_spot_interruptions_with_a_warning_and_without_are_gone_on_from_to_the_same_weights(
    place, small_demo, undisturbed
):
    arguments = ["--backend", "process", "--prepared", small_demo, *LONG]
    for line, grace in (("epoch_2_start", 2.0), ("resumed after epoch ", 0.0)):
        output = place.folder / f"output with {grace} s.txt"
        launcher = place.start("resnet18_baseline", *arguments, output=output)
        wait_for(line, output, launcher)
        job = [
            process
            for process in psutil.Process(launcher.pid).children(recursive=True)
            if any(name in " ".join(process.cmdline()) for name in ("train.py", "sagemaker_training"))
        ]
        for number, pause in ((signal.SIGTERM, grace), (signal.SIGKILL, 0.0)):
            for process in job:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            time.sleep(pause)
        assert launcher.wait(60) == 1
        assert record(max((place.folder / "runs").glob("resnet18-*")))["status"] == "Failed"
        assert place.leftovers() == []
    again = place.run("resnet18_baseline", *arguments)
    assert again.returncode == 0, again.stderr
    assert "resumed after epoch " in again.stdout
    resumed = max((place.folder / "runs").glob("resnet18-*"))
    assert same(weights(resumed, place.folder / "model"), undisturbed)
