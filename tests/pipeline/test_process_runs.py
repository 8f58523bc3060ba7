"""The pipeline in the process backend, with little jobs: what is run, said, kept and left."""

import contextlib
import json
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.launching import wait_for
from tests.support.pipeline_runs import PipelinePlace, run_words

pytest.importorskip("sagemaker_training")

from trapline.errors import UsageError
from trapline.launching.local import pipeline_runs, running
from trapline.launching.local.backend import PROCESSES
from trapline.launching.terminal import JobOutput
from trapline.pipeline.command_line import read_command
from trapline.pipeline.running import run

pytestmark = pytest.mark.slow

STEPS = ["Prepare", "TrainPhase1", "PseudoLabel", "TrainPhase2", "Evaluate"]
CONDITIONS = {"NothingNew": "No", "QualityGate": "Passed"}
AFTER_THE_GATE = ["Champion-CreateModel", "Transform", "Collect"]


SECRET = "planted-secret-of-the-environment"


@pytest.fixture
def place(tmp_path):
    return PipelinePlace(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has ended well: (place, completed process)."""
    place = PipelinePlace(tmp_path_factory.mktemp("finished"))
    words = run_words(place.data(), "one", "--param", "EpochsPhase2=7")
    done = place.pipeline(*words, AWS_SECRET_ACCESS_KEY=SECRET)
    assert done.returncode == 0, done.stdout + done.stderr
    return place, done


def test_no_file_of_a_run_holds_a_credential_of_the_environment(finished):
    place, _ = finished
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_every_image_is_asked_for_and_collected(finished):
    place, _ = finished
    answers = place.result("one")["answers"]
    assert [answers[f"{number}.jpg.out"]["bytes"] for number in range(3)] == [1, 2, 3]
    assert {answer["type"] for answer in answers.values()} == {"application/x-image"}
    assert {answer["batch"] for answer in answers.values()} == {"True"}


def test_a_first_run_keeps_no_division(finished):
    place, done = finished
    assert json.loads((place.folder / "runs" / "one" / "Prepare" / "completed.json").read_text()) == {}
    assert "cameras stay in their parts" not in done.stdout


def test_a_later_run_on_the_same_data_is_given_the_division_of_the_last_one(place):
    raw = place.data()
    assert place.pipeline(*run_words(raw, "one")).returncode == 0
    prepared = place.folder / "runs" / "one" / "Prepare"
    (prepared / "division.csv").write_text("site,part\nA,test\n")
    (prepared / "dataset.json").write_text(json.dumps({"source": str(raw), "split": {"line": "first"}}))
    done = place.pipeline(*run_words(raw, "two"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "division: cameras stay in their parts of runs/one; " in done.stdout
    given = json.loads((place.folder / "runs" / "two" / "Prepare" / "completed.json").read_text())
    assert given["division.csv"] == "site,part\nA,test\n"
    assert {name: json.loads(text) for name, text in given.items() if name.endswith(".json")} == {
        "division.json": {"source": str(raw), "line": "first"}
    }


def test_options_reach_the_preparation_unharmed(place):
    place.data().rename(place.folder / "-raw")
    options = ["site-regex=-(cam.)- 'a=b' \"c\" $HOME", "seed=7", "columns=path=filename label=species"]
    words = run_words("", "dashes", "--prepare", *options)
    words[words.index("--data") : words.index("--data") + 2] = ["--data=-raw"]
    done = place.pipeline(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    prepared = place.folder / "runs" / "dashes" / "Prepare"
    given = json.loads((prepared / "words.json").read_text())
    assert "--source-name=-raw" in given
    assert "--site-regex=-(cam.)- 'a=b' \"c\" $HOME" in given
    assert given[given.index("--seed") + 1] == "7"
    assert [given[place + 1] for place, word in enumerate(given) if word == "--columns"] == [
        "path=filename", "label=species",
    ]  # fmt: skip


def test_the_history_of_a_training_lies_where_collect_looks_for_it(finished):
    place, _ = finished
    assert any(name.endswith("metrics.csv") for name in place.result("one")["history"])


def test_each_step_has_a_line_a_log_and_its_prefix(finished):
    place, done = finished
    assert place.states("one") == {
        **dict.fromkeys(STEPS, "Completed"), **CONDITIONS, **dict.fromkeys(AFTER_THE_GATE, "Completed"),
    }  # fmt: skip
    for name in (*STEPS, *CONDITIONS, *AFTER_THE_GATE):
        assert f"== {name}: " in done.stdout
    assert "TrainPhase2 | train2 is running" in done.stdout
    assert "train2 is running" in (place.folder / "runs/one/logs/TrainPhase2.txt").read_text()
    assert "predictions   Collect/predictions.csv" in done.stdout


def test_parameters_reach_the_jobs(finished):
    place, _ = finished
    (output,) = (place.folder / "runs/one/TrainPhase2").glob("*/output")
    assert (place.folder / "runs/one/PseudoLabel/pseudo_labels.csv").read_text() == "id\n0.85\n"
    with tarfile.open(output / "model.tar.gz") as archive:
        model = json.load(archive.extractfile("model.json"))
    assert model["epochs"] == 7
    assert model["channels"]["phase1"] == ["model.tar.gz", "output.tar.gz"]
    assert (place.folder / "runs/one/Prepare/source.txt").read_text() == str(place.folder / "raw")


def test_a_run_leaves_no_process_and_no_temporary_folder(finished):
    place, _ = finished
    assert place.leftovers() == []
    names = {path.name for path in (place.folder / "runs/one").iterdir()}
    assert names == {
        "pipeline.json", "logs", ".steps", "Prepare", "TrainPhase1", "PseudoLabel", "TrainPhase2",
        "Evaluate", "Transform", "Collect",
    }  # fmt: skip


def test_a_finished_run_is_not_run_again_but_where_a_parameter_has_changed(finished):
    place, _ = finished
    again = place.pipeline("run", "--resume", "runs/one", "--param", "ConfidenceThreshold=0.5")
    assert again.returncode == 0, again.stderr
    states = place.states("one")
    assert [states[name] for name in STEPS[:4]] == [
        "Completed before", "Completed before", "Completed", "Completed",
    ]  # fmt: skip


def test_a_run_that_is_continued_without_a_change_runs_no_step_again_and_is_not_ended_early(place):
    assert place.pipeline(*run_words(place.data(), "same")).returncode == 0
    again = place.pipeline("run", "--resume", "runs/same")
    assert again.returncode == 0, again.stderr
    jobs = [name for name in (*STEPS, *AFTER_THE_GATE) if name != "Champion-CreateModel"]
    states = place.states("same")
    assert {name: states[name] for name in jobs} == dict.fromkeys(jobs, "Completed before")
    assert {name: states[name] for name in CONDITIONS} == CONDITIONS


def test_a_gate_that_is_not_met_names_metric_value_and_bound(place):
    done = place.pipeline(*run_words(place.data(log_loss=1.75), "gate", "--param", "QualityGate=0.5"))
    assert done.returncode == 1
    assert "the quality gate is not met on the test part: log loss 1.75, at most 0.5" in done.stderr
    assert place.states("gate")["GateNotMet"] == "Failed"
    assert place.state("gate")["status"] == "Failed"
    assert "Transform" not in place.states("gate")
    assert "earlier try" not in done.stdout


def test_a_stricter_gate_says_which_results_are_of_the_run_before(place):
    assert place.pipeline(*run_words(place.data(log_loss=1.75), "gate")).returncode == 0
    done = place.pipeline("run", "--resume", "runs/gate", "--param", "QualityGate=0.5")
    assert done.returncode == 1
    assert "note: what lies in Collect, Transform is of an earlier try of this run\n" in done.stdout


def test_without_a_test_part_the_gate_says_how_to_go_on(place):
    done = place.pipeline(*run_words(place.data(untested=True), "untested"))
    assert done.returncode == 1
    assert "the data set has no test part" in done.stderr
    again = place.pipeline("run", "--resume", "runs/untested", "--gate-part", "validation")
    assert again.returncode == 0, again.stderr
    assert place.states("untested")["Evaluate"] == "Completed before"


def test_a_failing_step_ends_the_run_in_its_own_words_and_a_resumed_run_goes_on_from_it(place):
    repaired = place.folder / "repaired"
    data = place.data(fails="evaluate", until=str(repaired))
    done = place.pipeline(*run_words(data, "bad"))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: step Evaluate: evaluate cannot go on (log: runs/bad/logs/Evaluate.txt)"
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert place.leftovers() == []
    repaired.touch()
    again = place.pipeline("run", "--resume", "runs/bad")
    assert again.returncode == 0, again.stderr
    states = place.states("bad")
    assert [states[name] for name in STEPS] == [*["Completed before"] * 4, "Completed"]
    assert len(place.result("bad")["answers"]) == 3


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"fails": "serve"}, "serve cannot load its model"),
        ({"http_status": 500}, "bad.jpg: the model answered 500"),
    ],
    ids=["a server that does not start", "an answer that is an error"],
)
def test_a_transform_that_fails_says_why_and_leaves_no_server(place, orders, message):
    data = place.data(**orders)
    (data / "bad.jpg").write_bytes(b"bad")
    done = place.pipeline(*run_words(data, "bad"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: step Transform: ")
    assert message in done.stderr
    assert place.leftovers() == []


@pytest.mark.parametrize(
    ("job", "said"),
    [("train1", "train1 is running"), ("serve", "serve is asked")],
)
def test_ctrl_c_stops_the_step_and_exits_130(place, tmp_path, job, said):
    output = tmp_path / "output.txt"
    process = place.begin(*run_words(place.data(waits=job), "stopped"), output=output)
    wait_for(said, output, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130, output.read_text()
    assert "error: interrupted" in output.read_text()
    assert place.state("stopped")["status"] == "Stopped"
    assert place.state("stopped")["steps"][-1]["state"] == "Stopped"
    assert place.leftovers() == []


def test_what_is_not_there_is_said_before_anything_starts(place):
    for words, message in (
        (["run", "--backend", "process", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["run", "--backend", "process", "--resume", "nowhere"], "--resume nowhere: holds no pipeline.json"),
    ):
        done = place.pipeline(*words)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {message}")
    assert not (place.folder / "runs").exists()


def test_a_run_that_was_killed_before_it_wrote_down_anything_is_given_again(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(pipeline_runs, "run_pipeline", lambda make, folder, *_, **__: begun.append(folder))
    monkeypatch.chdir(tmp_path)
    folder = Path("runs", "night")
    (folder / ".lock").mkdir(parents=True)
    command = read_command(["run", "--backend", "process", "--data", "demo", "--name", "night"])
    run(command)
    assert begun == [folder]
    (folder / "pipeline.json").touch()
    with pytest.raises(UsageError, match="--name night: runs/night exists; run --resume runs/night goes on"):
        run(command)
    assert begun == [folder]


def test_two_runs_at_once_do_not_disturb_each_other(place, tmp_path):
    outputs = [tmp_path / "a.txt", tmp_path / "b.txt"]
    data = place.data(images=40)
    runs = [place.begin(*run_words(data, output.stem), output=output) for output in outputs]
    assert [run.wait(120) for run in runs] == [0, 0], "".join(output.read_text() for output in outputs)
    assert len(place.result("a")["answers"]) == len(place.result("b")["answers"]) == 40
    assert place.leftovers() == []


def test_a_run_that_is_running_is_not_continued_at_the_same_time(place, tmp_path):
    output = tmp_path / "output.txt"
    process = place.begin(*run_words(place.data(waits="train1"), "busy"), output=output)
    wait_for("train1 is running", output, process)
    second = place.pipeline("run", "--resume", "runs/busy")
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert (second.returncode, second.stderr.splitlines()[0]) == (
        2,
        "error: runs/busy: this run is running already",
    )


def test_a_job_is_followed_until_what_it_left_has_been_ended(tmp_path, monkeypatch):
    """Else the thread that does it would end the next step's processes, which bear the same mark."""
    ended = []

    def end_slowly(identity):
        time.sleep(0.3)
        ended.append(identity)

    monkeypatch.setattr(running, "end_processes", end_slowly)
    process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    with contextlib.closing(JobOutput(tmp_path / "log.txt")) as output:
        assert running.follow(process, [], output, "job-x", PROCESSES) == 0
    assert ended == ["job-x"]
