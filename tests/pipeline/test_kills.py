"""Kills: nothing is left after the next command, and a continued run ends as an undisturbed one."""

import os
import random
import signal
import time

import psutil
import pytest

from tests.support.pipeline_runs import REAL, PipelinePlace, run_words
from trapline.launching.local.workspace import MARKER

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("TRAPLINE_KILLS", "1"))  # of each of the three ways; a minute each time
TINY = [
    "--prepare", "demo-images=160", "demo-unlabeled=104", "demo-sites=12", "short-side=64",
    "max-quarantine=0.2",
    "--set", "arch=shufflenet_v2_x0_5", "image_size=32", "num_workers=0", "deterministic=true",
    "precision=fp32",
    "--param", "EpochsPhase1=2", "EpochsPhase2=1", "ConfidenceThreshold=0.2", "QualityGate=9",
]  # fmt: skip


def kill_step(place, moments):
    """Kill one process of a step, if there is one."""
    children = [
        process
        for process in psutil.process_iter()
        if _of(process, place) and "supervisor.py" not in " ".join(process.cmdline())
    ]
    if children:
        moments.choice(children).kill()


def _of(process, place):
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return MARKER in environment and environment.get("TMPDIR", "").startswith(str(place.temporary))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    place = PipelinePlace(tmp_path_factory.mktemp("undisturbed"))
    done = place.pipeline(*run_words("demo", "undisturbed", *TINY), script=REAL)
    assert done.returncode == 0, done.stderr
    return place.folder / "runs" / "undisturbed"


def test_a_run_disturbed_in_every_way_at_random_moments_ends_with_the_same_submission(undisturbed, tmp_path):
    place = PipelinePlace(tmp_path)
    moments = random.Random(0)
    words, output = run_words("demo", "disturbed", *TINY), tmp_path / "output.txt"
    for number in range(3 * TIMES):
        process = place.begin(*words, output=output, script=REAL)
        time.sleep(moments.uniform(3, 14))
        if number % 3 == 2:
            kill_step(place, moments)
        else:
            process.send_signal((signal.SIGINT, signal.SIGKILL)[number % 3])
        assert process.wait(300) in (0, 1, 130, -9), output.read_text()
        started = (tmp_path / "runs" / "disturbed" / "pipeline.json").exists()
        words = ["run", "--resume", "runs/disturbed"] if started else words
    last = place.pipeline(*words, script=REAL)  # also where it was killed before it wrote down anything
    assert last.returncode == 0, last.stderr
    assert place.leftovers() == []
    collected = tmp_path / "runs" / "disturbed" / "Collect"
    for name in ("submission.csv", "predictions.csv"):
        assert (collected / name).read_bytes() == (undisturbed / "Collect" / name).read_bytes()
