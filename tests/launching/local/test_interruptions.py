"""Kills at any moment: nothing is left after the next command, and a restart goes on."""

import contextlib
import random
import signal
import time

import psutil
import pytest

from tests.support.launching import Place, only_run, record, repeatable, rows, same, tiny, wait_for, weights

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.slow

MOMENTS = {"Ctrl-C": 10, "SIGKILL of the launcher": 5}
LONGEST = 9.0  # seconds: from loading Python to packing the artefact
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGKILL of the launcher": signal.SIGKILL}
LONG = tiny(epochs=25, arch="shufflenet_v2_x0_5")  # more than a job ends while it is being killed


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, small_demo):
    """The tensors of a job that nothing disturbed."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    done = place.run("resnet18_baseline", "--backend", "process", "--prepared", small_demo, *LONG)
    assert done.returncode == 0, done.stderr
    return weights(only_run(place.folder), place.folder / "model")


@pytest.mark.parametrize("how", SIGNALS)
def test_at_random_moments_nothing_is_left_after_the_next_command(place, small_demo, how):
    moments = random.Random(how)
    arguments = ["--backend", "process", "--prepared", small_demo, *tiny(epochs=2)]
    for number in range(MOMENTS[how]):
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
    histories = [repeatable(run) for run in finished]
    assert all(history == histories[0] for history in histories)
    if SIGNALS[how] == signal.SIGINT:
        states = {record(run)["status"] for run in (place.folder / "runs").glob("resnet18-*")}
        assert states <= {"Stopped", "Completed"}


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


@pytest.mark.parametrize("grace", [2.0, 0.0], ids=["after a warning", "at once"])
def test_a_spot_interruption_is_gone_on_from_to_the_same_weights(place, small_demo, undisturbed, grace):
    output = place.folder / "output.txt"
    arguments = ["--backend", "process", "--prepared", small_demo, *LONG]
    launcher = place.start("resnet18_baseline", *arguments, output=output)
    wait_for("epoch_2_start", output, launcher)
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
    assert record(only_run(place.folder))["status"] == "Failed"
    assert place.leftovers() == []
    again = place.run("resnet18_baseline", *arguments)
    assert again.returncode == 0, again.stderr
    assert "resumed after epoch " in again.stdout
    resumed = max((place.folder / "runs").glob("resnet18-*"))
    assert same(weights(resumed, place.folder / "model"), undisturbed)
