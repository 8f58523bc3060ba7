"""The process backend: AWS's own toolkit runs the training script here, and nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.launching import Place, only_run, record, repeatable, rows, tiny, unpacked, wait_for
from tests.support.object_store import BUCKET, serve
from trapline import metrics
from trapline.launching.checkout import model_code_digest
from trapline.models.artefact import load_model
from trapline.trusted_code import code_digest

pytest.importorskip("sagemaker_training")

BACKEND = ["--backend", "process"]
EPOCHS = 8  # more than a job ends while it is being killed


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.end_started()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_demo):
    """A run that has ended well: (place, completed process, run folder)."""
    place = Place(tmp_path_factory.mktemp("finished"))
    done = place.run("resnet18_baseline", *BACKEND, "--prepared", small_demo, *tiny(epochs=EPOCHS))
    assert done.returncode == 0, done.stdout + done.stderr
    return place, done, only_run(place.folder)


@pytest.mark.slow
def test_a_run_leaves_the_artefact_and_the_record(finished, tmp_path):
    _, done, run = finished
    _, description = load_model(unpacked(run, tmp_path / "model"))
    assert description.configuration["image_size"] == 32
    assert code_digest(tmp_path / "model" / "code") == model_code_digest()
    assert record(run)["status"] == "Completed"
    assert record(run)["hyperparameters"]["epochs"] == EPOCHS
    assert f"results: runs/{run.name}/" in done.stdout


@pytest.mark.slow
def test_a_run_leaves_nothing_else(finished):
    place, _, run = finished
    assert place.leftovers() == []
    names = {path.name for path in run.iterdir()}
    reports = {"metrics.csv", "curves.png", "classification_report.csv", "classification_report.txt"}
    assert names == {"model.tar.gz", *reports, "log.txt", "job.json"}
    assert {path.name for path in (place.folder / "runs").iterdir()} == {run.name}


@pytest.mark.slow
def test_what_the_regexes_read_from_the_log_is_the_csv_value_for_value(finished):
    _, done, run = finished
    history = rows(run / "metrics.csv")
    for text in ((run / "log.txt").read_text(), done.stdout):
        lines = [line for line in text.splitlines() if metrics.START in line]
        assert [metrics.read_values(line) for line in lines] == [
            {name: float(value) for name, value in row.items()} for row in history
        ]
    assert len(history) == EPOCHS


@pytest.mark.slow
def test_the_terminal_shows_how_far_the_job_is(finished):
    _, done, _ = finished
    assert f"progress: epoch 1 of {EPOCHS}, log loss" in done.stdout


@pytest.mark.slow
def test_the_bare_entry_point_has_the_same_metrics(finished, small_demo, call_script, tmp_path):
    options = [f"--{pair}" for pair in [*tiny(epochs=EPOCHS)[1:], "augment=none", "best_metric=val_acc"]]
    done = call_script("train.py", "--prepared", small_demo, "--output", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert repeatable(finished[2]) == repeatable(tmp_path / "output" / "data")


@pytest.mark.slow
def test_a_failing_script_shows_its_own_message(place, small_demo):
    done = place.run("resnet18_baseline", *BACKEND, "--prepared", small_demo, *tiny(image_size=96))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()
    assert last[0].startswith("error: image_size 96 is above the packed short side 64: prepare again")
    assert len(last) == 2
    assert "Traceback" not in done.stderr
    run = only_run(place.folder)
    assert record(run)["status"] == "Failed"
    assert "image_size 96" in record(run)["failure_reason"]
    assert not (run / "model.tar.gz").exists()
    assert place.leftovers() == []


@pytest.mark.slow
def test_a_killed_job_is_a_failure_and_a_killed_launcher_leaves_a_checkpoint_to_go_on_from(
    place, small_demo, finished, tmp_path
):
    arguments = [*BACKEND, "--prepared", small_demo, *tiny(epochs=EPOCHS)]
    output = tmp_path / "output.txt"
    launcher = place.start("resnet18_baseline", *arguments, output=output)
    wait_for("epoch_2_start", output, launcher)
    launcher.kill()
    launcher.wait()
    again = place.run("resnet18_baseline", *arguments)
    assert again.returncode == 0, again.stderr
    assert "resumed after epoch " in again.stdout
    assert place.leftovers() == []
    run = max((place.folder / "runs").glob("resnet18-*"))
    assert repeatable(run) == repeatable(finished[2])
    assert not (place.folder / "runs" / "checkpoints").exists()


@pytest.mark.slow
def test_ctrl_c_stops_the_job_and_exits_130(place, small_demo, tmp_path):
    output = tmp_path / "output.txt"
    arguments = [*BACKEND, "--prepared", small_demo, *tiny(epochs=5000)]
    launcher = place.start("resnet18_baseline", *arguments, output=output)
    wait_for("epoch=1 ", output, launcher)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(60) == 130
    assert "error: interrupted" in output.read_text()
    assert record(only_run(place.folder))["status"] == "Stopped"
    assert place.leftovers() == []


@pytest.mark.slow
def test_raw_images_in_a_strangely_named_folder_are_prepared_once(place, class_folders):
    raw = class_folders.rename(class_folders.with_name("my photos: 50% #1?"))
    arguments = [
        *BACKEND, "--data", raw, "--output", "runs of #1: today",
        "--prepare", "site-regex=/(?P<site>s\\d)_", "short-side=32", "shares=0.5,0.25,0.25",
        *tiny(batch_size=4),
    ]  # fmt: skip
    first = place.run("resnet18_baseline", *arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    second = place.run("resnet18_baseline", *arguments)
    assert second.returncode == 0, second.stderr
    assert "24 inputs: 24 labelled" in first.stdout
    assert "same data, options and code as then" in second.stdout
    prepared = list((place.folder / "runs of #1: today" / "prepared").iterdir())
    assert len(prepared) == 1
    assert (prepared[0] / "dataset.json").exists()
    assert not (place.folder / "runs of #1: today" / "checkpoints").exists()


@pytest.mark.long  # an archive: tests/launching/test_imagenet_experiments.py; options: test_file_options.py
def test_an_archive_is_prepared_with_options_of_any_form_and_tables_of_classes(place, class_folders):
    shutil.make_archive(str(place.folder / "-traps"), "xztar", class_folders)
    (place.folder / "names.csv").write_text("Label,Name\ncat,Wildcat\n")
    (place.folder / "classes.csv").write_text("label,class\ncat,cat\ndog,Canid\n")
    options = [
        "site-regex=-?(?P<site>s\\d)_", "label-names=names.csv", "classes=classes.csv",
        'source-name=- "a" b=c /opt/ml/x',
    ]  # fmt: skip
    done = place.run(
        "resnet18_baseline", *BACKEND, "--data=-traps.tar.xz",
        "--prepare", *options, "short-side=32", "shares=0.5,0.25,0.25", *tiny(batch_size=4),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 inputs: 24 labelled" in done.stdout
    (description,) = (place.folder / "runs" / "prepared").glob("*/dataset.json")
    said = json.loads(description.read_text())
    assert said["source"] == '- "a" b=c /opt/ml/x'
    assert sorted(said["classes"]) == ["Canid", "Wildcat"]
    assert said["split"]["kind"] == "site"


@pytest.mark.slow
def test_data_in_s3_are_read_with_the_credentials_at_hand(place, class_folders, small_demo):
    with serve() as store:
        store.upload(class_folders, "raw")
        for name in ("dataset.json", "summary.json"):
            store.put(f"prepared/{name}", (small_demo / name).read_bytes())
        for part in ("train", "val"):
            store.upload(small_demo / part, f"prepared/{part}")
        options = ["short-side=32", "split=random", "shares=0.5,0.25,0.25"]
        raw = place.run(
            "resnet18_baseline", *BACKEND, "--data", f"s3://{BUCKET}/raw", "--prepare", *options,
            *tiny(batch_size=4), **store.environment,
        )  # fmt: skip
        assert raw.returncode == 0, raw.stdout + raw.stderr
        set_in_s3 = place.run(
            "resnet18_baseline",
            *BACKEND,
            "--prepared",
            f"s3://{BUCKET}/prepared",
            *tiny(),
            **store.environment,
        )
        assert set_in_s3.returncode == 0, set_in_s3.stdout + set_in_s3.stderr
        missing = place.run(
            "resnet18_baseline", *BACKEND, "--prepared", f"s3://{BUCKET}/none", *tiny(), **store.environment
        )
    assert missing.returncode == 1
    assert f"s3://{BUCKET}/none" in missing.stderr
    assert "24 inputs: 24 labelled" in raw.stdout
    assert place.leftovers() == []


@pytest.mark.slow
def test_a_prepare_job_that_refuses_its_data_keeps_the_evidence(place, class_folders):
    for path in sorted(class_folders.rglob("*.jpg"))[:6]:
        path.write_bytes(b"")
    done = place.run("resnet18_baseline", *BACKEND, "--data", class_folders, *tiny())
    assert done.returncode == 1
    assert "--prepare max-quarantine=0.05" in done.stderr
    run = only_run(place.folder)
    assert (run / "quarantine.csv").read_text().count(",empty,") == 6
    assert record(run)["status"] == "Failed"


def test_what_is_not_there_is_said_before_anything_starts(place, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--prepared", "nowhere"], "--prepared nowhere: no such folder"),
        (["--prepared", "empty"], "--prepared empty: holds no dataset.json; --data takes raw images"),
        (["--data", "empty", "--prepare", "site-csv=x.csv"], "--prepare site-csv=x.csv: no such file"),
    ):
        done = place.run("resnet18_baseline", *BACKEND, *arguments)
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert not (place.folder / "runs").exists()


def test_a_taken_job_name_is_refused(place):
    (place.folder / "runs" / "taken").mkdir(parents=True)
    done = place.run(
        "resnet18_baseline", *BACKEND, "--prepared", "tmp", "--data", "demo", "--job-name", "taken"
    )
    assert done.returncode == 2
    done = place.run("resnet18_baseline", *BACKEND, "--data", "demo", "--job-name", "taken")
    assert (done.returncode, done.stderr) == (
        2, "error: --job-name taken: runs/taken exists; choose another name\n",
    )  # fmt: skip


@pytest.mark.long
def test_two_launches_of_the_same_job_do_not_disturb_each_other(place, small_demo, finished, tmp_path):
    outputs = [tmp_path / "one.txt", tmp_path / "two.txt"]
    arguments = [*BACKEND, "--prepared", small_demo, *tiny(epochs=EPOCHS)]
    launchers = [place.start("resnet18_baseline", *arguments, output=output) for output in outputs]
    assert [launcher.wait(300) for launcher in launchers] == [0, 0], "".join(o.read_text() for o in outputs)
    assert sum("the same job is running already" in output.read_text() for output in outputs) <= 1
    runs = sorted((place.folder / "runs").glob("resnet18-*"))
    assert len(runs) == 2
    for run in runs:
        assert repeatable(run) == repeatable(finished[2])
    assert place.leftovers() == []


@pytest.mark.slow
def test_two_launches_of_two_nodes_at_once_train_under_torchrun_and_leave_one_artefact_each(
    place, small_demo, tmp_path
):
    outputs = [tmp_path / "one.txt", tmp_path / "two.txt"]
    words = [*BACKEND, "--prepared", small_demo, "--instance-count", 2, *tiny()]
    launchers = [
        place.start("resnet18_baseline", *words, "--job-name", output.stem, output=output)
        for output in outputs
    ]
    assert [launcher.wait(300) for launcher in launchers] == [0, 0], "".join(o.read_text() for o in outputs)
    for output in outputs:
        assert "ranks=2" in output.read_text()
        run = place.folder / "runs" / output.stem
        assert len(rows(run / "metrics.csv")) == 1
        load_model(unpacked(run, tmp_path / f"model of {output.stem}"))
    assert place.leftovers() == []


@pytest.mark.slow
def test_the_whole_road_needs_neither_docker_nor_opt_ml_nor_root(place, small_demo):
    """As root the test gives up its user, and keeps the right to read: the interpreter may lie in /root."""
    if Path("/opt/ml").exists():
        pytest.skip("/opt/ml exists on this machine")
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("running as root, and setpriv is not there to give it up")
    shown = place.folder / "shown"
    shown.mkdir()
    shutil.copytree(small_demo, shown / "prepared")
    tools = place.folder / "bin"
    tools.mkdir()
    for name in ("which", "sh"):  # the toolkit calls them
        (tools / name).symlink_to(shutil.which(name))
    user = []
    if os.getuid() == 0:
        caps = "+dac_read_search"
        user = [shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups",
                f"--inh-caps={caps}", f"--ambient-caps={caps}"]  # fmt: skip
        for path in (place.folder, place.temporary, shown):
            path.chmod(0o777)
    command = [*user, *place.command("resnet18_baseline", *BACKEND, "--prepared", shown / "prepared",
                                     *tiny())]  # fmt: skip
    environment = place.environment | {"PATH": str(tools), "HOME": str(place.folder)}
    done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(place.folder)
    assert (run / "model.tar.gz").stat().st_size > 1_000_000
    if user:
        assert run.stat().st_uid == 65534
    assert place.leftovers() == []
