"""The local backend: jobs in containers end as they do in processes, whatever happens, and leave nothing."""

import csv
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.docker.conftest import missing
from tests.support.launching import Place, only_run, record, repeatable, rows, same, tiny, wait_for, weights
from tests.support.object_store import BUCKET, serve
from trapline import metrics
from trapline.errors import TraplineError
from trapline.launching.local.docker_engine import IMAGE, LABEL, find_engine

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.docker

LOCAL, PROCESS = ["--backend", "local"], ["--backend", "process"]
EPOCHS = 25  # more than a job ends while the next command starts
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0000000001",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+0000000002",
    "AWS_SESSION_TOKEN": "planted-token-0000000003",
}
DEMO = ["--data", "demo", "--prepare", "demo-images=160", "demo-unlabeled=12", "demo-sites=12",
        "max-quarantine=0.2", "short-side=64"]  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    """The engine of this machine, or a skip with the reason. No volume stays when the tests here are done."""
    try:
        found = find_engine(IMAGE)
    except TraplineError as error:
        missing(str(error))
    before = volumes(found)
    yield found
    assert volumes(found) == before


@pytest.fixture
def place(tmp_path, engine):
    place = Place(tmp_path)
    yield place
    place.end_started()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_demo, engine):
    """The same job on both backends, with credentials planted: name -> (place, completed, run folder)."""
    done = {}
    for backend in (PROCESS, LOCAL):
        place = Place(tmp_path_factory.mktemp(backend[1]))
        words = [*backend, "--prepared", small_demo, *tiny(epochs=EPOCHS)]
        completed = place.run("resnet18_baseline", *words, **SECRETS)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        done[backend[1]] = place, completed, only_run(place.folder)
    return done


def left_in_docker(engine):
    """Containers and networks of jobs."""
    wanted = ["-q", "--filter", f"label={LABEL}"]
    commands = (["ps", "--all", *wanted], ["network", "ls", *wanted])
    return [line for words in commands for line in ask(engine, *words).split()]


def volumes(engine):
    return set(ask(engine, "volume", "ls", "--quiet").split())


def ask(engine, *words):
    done = subprocess.run([engine.docker, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def nothing_is_left(place, engine):
    assert place.leftovers() == []
    assert left_in_docker(engine) == []
    return True


def values(run):
    return [{name: float(value) for name, value in row.items()} for row in repeatable(run)]


def newest(place):
    return max((place.folder / "runs").glob("resnet18-*"))


def contents(folder):
    """Every file below a folder, and every member of an archive: (name, bytes)."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.name.endswith(".tar.gz"):
                with tarfile.open(path) as archive:
                    for member in archive:
                        if member.isfile():
                            yield f"{path}:{member.name}", archive.extractfile(member).read()


def found_secrets(folder, *texts):
    named = [*contents(folder), *((f"text {number}", text.encode()) for number, text in enumerate(texts))]
    return [(name, secret) for name, content in named for secret in SECRETS.values()
            if secret.encode() in content]  # fmt: skip


def test_containers_end_with_the_metrics_and_the_files_of_processes(finished):
    ours, theirs = finished["local"][2], finished["process"][2]
    assert len(values(ours)) == EPOCHS
    for row, expected in zip(values(ours), values(theirs), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    assert record(ours)["status"] == "Completed"


def test_output_is_followed_as_that_of_processes(finished):
    _, done, run = finished["local"]
    assert f"progress: epoch 1 of {EPOCHS}, log loss" in done.stdout
    lines = [line for line in (run / "log.txt").read_text().splitlines() if metrics.START in line]
    assert [metrics.read_values(line) for line in lines] == [
        {name: float(value) for name, value in row.items()} for row in rows(run / "metrics.csv")
    ]
    assert "\r" not in (run / "log.txt").read_bytes().decode()


def test_a_run_leaves_no_container_network_folder_or_process(finished, engine):
    place, _, run = finished["local"]
    assert nothing_is_left(place, engine)
    assert {path.name for path in (place.folder / "runs").iterdir()} == {run.name}


def test_planted_credentials_are_nowhere_in_what_a_run_leaves(finished):
    place, done, _ = finished["local"]
    assert found_secrets(place.folder, done.stdout, done.stderr) == []


def test_a_failing_job_shows_its_own_message_and_leaves_nothing(place, small_demo, engine):
    words = [*LOCAL, "--prepared", small_demo, *tiny(image_size=96)]
    done = place.run("resnet18_baseline", *words, **SECRETS)
    assert done.returncode == 1
    assert done.stderr.startswith("error: image_size 96 is above the packed short side 64: prepare again")
    assert "Traceback" not in done.stderr
    assert "image_size 96" in record(only_run(place.folder))["failure_reason"]
    assert found_secrets(place.folder, done.stdout, done.stderr) == []
    assert nothing_is_left(place, engine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_launcher_stops_its_containers_and_exits_130(place, small_demo, engine, number):
    output = place.folder / "output.txt"
    words = [*LOCAL, "--prepared", small_demo, *tiny(epochs=5000)]
    launcher = place.start("resnet18_baseline", *words, output=output)
    wait_for("epoch=1 ", output, launcher)
    assert left_in_docker(engine)
    launcher.send_signal(number)
    assert launcher.wait(60) == 130
    assert "error: interrupted" in output.read_text()
    assert record(only_run(place.folder))["status"] == "Stopped"
    assert nothing_is_left(place, engine)


def test_after_a_killed_launcher_the_next_command_sweeps_and_goes_on_to_the_same_weights(
    place, small_demo, finished, engine, tmp_path
):
    output = place.folder / "output.txt"
    words = [*LOCAL, "--prepared", small_demo, *tiny(epochs=EPOCHS)]
    launcher = place.start("resnet18_baseline", *words, output=output)
    wait_for("epoch_2_start", output, launcher)
    kill_family(launcher)
    again = place.run("resnet18_baseline", *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed after epoch " in again.stdout
    assert nothing_is_left(place, engine)
    undisturbed = weights(finished["local"][2], tmp_path / "undisturbed")
    assert same(weights(newest(place), tmp_path / "resumed"), undisturbed)
    assert not (place.folder / "runs" / "checkpoints").exists()


def kill_family(launcher):
    """SIGKILL for the launcher, and for the supervisor, which would clean up after it."""
    import psutil

    family = psutil.Process(launcher.pid).children(recursive=True)
    launcher.kill()
    for process in family:
        if process.is_running():
            process.kill()
    launcher.wait()


def test_spot_interruptions_with_a_warning_and_without_are_gone_on_from_to_the_same_weights(
    place, small_demo, finished, engine, tmp_path
):
    words = [*LOCAL, "--prepared", small_demo, *tiny(epochs=EPOCHS)]
    for line, grace in (("epoch_2_start", 2.0), ("resumed after epoch ", 0.0)):
        output = place.folder / f"output with {grace} s.txt"
        launcher = place.start("resnet18_baseline", *words, output=output)
        wait_for(line, output, launcher)
        (container,) = ask(engine, "ps", "-q", "--filter", f"label={LABEL}").split()
        subprocess.run([engine.docker, "kill", "--signal", "TERM", container], capture_output=True)
        time.sleep(grace)
        subprocess.run([engine.docker, "kill", container], capture_output=True)
        assert launcher.wait(60) == 1
        assert record(newest(place))["status"] == "Failed"
        assert nothing_is_left(place, engine)
    again = place.run("resnet18_baseline", *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed after epoch " in again.stdout
    undisturbed = weights(finished["local"][2], tmp_path / "undisturbed")
    assert same(weights(newest(place), tmp_path / "resumed"), undisturbed)


def test_two_instances_train_as_two_processes_do_and_leave_one_artefact(place, small_demo, engine, tmp_path):
    runs = {}
    for backend in (PROCESS, LOCAL):
        words = [*backend, "--prepared", small_demo, "--instance-count", 2, "--job-name", backend[1],
                 *tiny()]  # fmt: skip
        done = place.run("resnet18_baseline", *words, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ranks=2" in done.stdout
        assert "ranks: all 2 hold the same weights, sha256 " in done.stdout
        runs[backend[1]] = place.folder / "runs" / backend[1]
    (ours,), (theirs,) = values(runs["local"]), values(runs["process"])
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert weights(runs["local"], tmp_path / "model")
    assert nothing_is_left(place, engine)


def test_raw_images_in_s3_are_read_with_credentials_that_no_file_holds(place, class_folders, engine):
    output = place.folder / "output.txt"
    with serve() as store:
        store.upload(class_folders, "raw")
        environment = store.environment | SECRETS
        words = [*LOCAL, "--data", f"s3://{BUCKET}/raw", "--prepare", "short-side=32", "split=random",
                 "shares=0.5,0.25,0.25", *tiny(batch_size=4)]  # fmt: skip
        with output.open("w") as file:
            launcher = subprocess.Popen(
                place.command("resnet18_baseline", *words), cwd=place.folder,
                env=place.environment | environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        while launcher.poll() is None:
            assert secrets_on_disk(place.folder) == []
            time.sleep(0.02)
    assert launcher.returncode == 0, output.read_text()
    assert "24 inputs: 24 labelled" in output.read_text()
    assert found_secrets(place.folder) == []
    assert nothing_is_left(place, engine)


def secrets_on_disk(folder):
    """Secrets in the small files of a job that is running, its Compose file above all."""
    found = []
    below = (Path(top, name) for top, _, names in os.walk(folder) for name in names)  # folders may vanish
    for path in below:
        try:
            content = path.read_bytes() if path.suffix in (".json", ".txt", ".yaml", "") else b""
        except OSError:
            continue
        found += [path for secret in SECRETS.values() if secret.encode() in content]
    return found


def test_what_containers_write_belongs_to_the_user(place, small_demo, engine):
    """As root the test gives up its user, and keeps the right to read: the interpreter may lie in /root."""
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("running as root, and setpriv is not there to give it up")
    shown = place.folder / "shown"
    shutil.copytree(small_demo, shown)
    user, uid = [], os.getuid()
    if uid == 0:
        uid, caps = 65534, "+dac_read_search"
        group = Path("/var/run/docker.sock").stat().st_gid
        user = [shutil.which("setpriv"), f"--reuid={uid}", f"--regid={uid}", f"--groups={group}",
                f"--inh-caps={caps}", f"--ambient-caps={caps}"]  # fmt: skip
        for folder in (*place.folder.parents[:2], place.folder, place.temporary, shown):
            folder.chmod(0o777)
    words = [*LOCAL, *DEMO, *tiny()]
    environment = place.environment | {"HOME": str(place.folder)}
    done = subprocess.run(
        [*user, *place.command("resnet18_baseline", *words)], cwd=place.folder, env=environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    owners = {path.stat().st_uid for path in (place.folder / "runs").rglob("*")}
    assert owners == {uid}
    assert nothing_is_left(place, engine)


def test_an_interrupted_pipeline_that_read_its_images_from_s3_leaves_nothing_running(
    place, class_folders, engine
):
    from tests.support.pipeline_runs import REAL

    output = place.folder / "output.txt"
    words = ["run", *LOCAL, "--data", class_folders, "--trial-s3", "--prepare", "short-side=32",
             "split=random", "shares=0.5,0.25,0.25", "--set", "arch=shufflenet_v2_x0_5", "image_size=32",
             "batch_size=4", "weights=none", "--name", "stopped"]  # fmt: skip
    with output.open("w") as file:
        pipeline = subprocess.Popen(
            [*REAL, *map(str, words)], cwd=place.folder, env=place.environment, stdout=file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    wait_for("epoch_1_start", output, pipeline)
    assert left_in_docker(engine)
    pipeline.send_signal(signal.SIGINT)
    assert pipeline.wait(60) == 130
    said = output.read_text()
    assert "24 inputs: 24 labelled" in said
    assert "== TrainPhase1: Stopped" in said
    assert nothing_is_left(place, engine)


@pytest.mark.slow
def test_the_whole_pipeline_ends_as_it_does_in_processes(place, engine):
    from tests.support.pipeline_runs import REAL

    words = ["run", "--data", "demo", "--prepare", "demo-images=160", "demo-unlabeled=24", "demo-sites=12",
             "max-quarantine=0.2", "short-side=64", "--set", "arch=shufflenet_v2_x0_5", "image_size=32",
             "num_workers=0", "deterministic=true", "--param", "EpochsPhase1=1", "EpochsPhase2=1",
             "QualityGate=100"]  # fmt: skip
    for backend in ("process", "local"):
        done = subprocess.run(
            [*REAL, *words, "--backend", backend, "--name", backend], cwd=place.folder,
            env=place.environment | SECRETS, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    runs = place.folder / "runs"
    theirs, ours = (predictions(runs / name / "Collect" / "predictions.csv") for name in ("process", "local"))
    assert [row["id"] for row in ours] == [row["id"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine["status"], mine["label"]) == (other["status"], other["label"])
        assert float(mine["confidence"] or 0) == pytest.approx(float(other["confidence"] or 0), abs=1e-4)
    assert found_secrets(place.folder, done.stdout, done.stderr) == []
    assert nothing_is_left(place, engine)


def predictions(path):
    with path.open() as file:
        return list(csv.DictReader(file))
