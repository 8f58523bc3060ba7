"""The local backend without an engine: what is missing is said before anything starts, and what would run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.launching import Place, tiny
from trapline.errors import TraplineError
from trapline.launching.local import docker_engine, workspace
from trapline.launching.local.backend import weights_mounts
from trapline.launching.local.docker_engine import find_engine, remove_what_is_left

pytest.importorskip("sagemaker")

from trapline.launching.sdk import docker_internals
from trapline.launching.sdk.docker_internals import TORCH_CACHE, NodeContainers
from trapline.launching.sdk.internals import JobSession, LocalJob

# A client of Docker whose engine holds what two files say; each call is a line in the file `calls`.
CLIENT = """#!{python}
import json, os, pathlib, sys
here, words = pathlib.Path({folder!r}), sys.argv[1:]
with (here / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
answers = json.loads((here / "answers.json").read_text())
name = next((name for name in answers if " ".join(words).startswith(name)), None)
code, output, error = answers[name] if name else (0, "", "")
if words[0] in ("rm", "network") and "ls" not in words:
    answers["ps" if words[0] == "rm" else "network ls"] = [0, "", ""]
    (here / "answers.json").write_text(json.dumps(answers))
sys.stdout.write(output), sys.stderr.write(error), sys.exit(code)
"""
HEALTHY = {
    "version": [0, "28.1.0\n", ""],
    "info": [0, json.dumps({"SecurityOptions": ["name=seccomp"], "Runtimes": {"runc": {}}}), ""],
    "compose version": [0, "Docker Compose version v2.40.0\n", ""],
    "image inspect": [0, "sha256:abc\n", ""],
}
DONE = subprocess.CompletedProcess([], 0, "", "")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
    "AWS_SECRET_ACCESS_KEY": "planted/secret",
    "AWS_SESSION_TOKEN": "planted-token",
}


class Client:
    """The fake client's folder, which is the whole PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "docker"
        self.path.write_text(CLIENT.format(python=sys.executable, folder=str(folder)))
        self.path.chmod(0o755)
        self.answer()

    def answer(self, **answers):
        given = {name.replace("_", " "): answer for name, answer in answers.items()}
        (self.folder / "answers.json").write_text(json.dumps(HEALTHY | given))

    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def client(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Client(folder)


def test_an_engine_with_compose_and_the_image_is_found(client):
    engine = find_engine("trapline:latest")
    assert engine.docker == str(client.path)
    assert engine.compose == (str(client.path), "compose")
    assert engine.user == f"{os.getuid()}:{os.getgid()}"
    assert engine.image_id == "sha256:abc"
    assert engine.gpu is False


@pytest.mark.parametrize("version", ["v2.40.0", "v5.0.1", "5.1.0"])
def test_compose_of_any_version_will_do(client, version):
    client.answer(compose_version=[0, f"Docker Compose version {version}\n", ""])
    assert find_engine("trapline:latest").compose == (str(client.path), "compose")


def test_the_older_compose_beside_the_client_will_do(client):
    client.answer(compose_version=[1, "", "docker: 'compose' is not a docker command.\n"])
    older = client.folder / "docker-compose"
    older.write_text("#!/bin/sh\nexit 0\n")
    older.chmod(0o755)
    assert find_engine("trapline:latest").compose == (str(older),)


def test_in_an_engine_without_root_the_root_of_a_container_is_the_user(client):
    client.answer(info=[0, json.dumps({"SecurityOptions": ["name=rootless"]}), ""])
    assert find_engine("trapline:latest").user is None


def test_a_gpu_is_used_where_docker_can_hand_it_on(client, capsys):
    smi = client.folder / "nvidia-smi"
    smi.write_text("#!/bin/sh\nexit 0\n")
    smi.chmod(0o755)
    assert find_engine("trapline:latest").gpu is False
    assert "install nvidia-container-toolkit" in capsys.readouterr().out
    client.answer(info=[0, json.dumps({"Runtimes": {"nvidia": {}}}), ""])
    assert find_engine("trapline:latest").gpu is True


NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?\n"
REFUSED = "permission denied while trying to connect to the Docker daemon socket\n"


@pytest.mark.parametrize(
    ("answers", "image", "messages"),
    [
        ({"version": [1, "", NO_DAEMON]}, "trapline:latest", ["does not answer", "systemctl start docker"]),
        ({"version": [1, "", REFUSED]}, "trapline:latest", ["permission denied", "usermod -aG docker"]),
        ({"compose_version": [1, "", "no"]}, "trapline:latest", ["docker compose: not there"]),
        ({"image_inspect": [1, "", "No such image"]}, "trapline:latest", ["build it: docker/build.sh"]),
        ({"image_inspect": [1, "", "No such image"]}, "mine:2", ["is not there", "docker pull mine:2"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_with_the_command_to_run(client, answers, image, messages):
    client.answer(**answers)
    with pytest.raises(TraplineError) as refused:
        find_engine(image)
    for message in messages:
        assert message in str(refused.value)
    assert refused.value.exit_code == 1


def test_without_a_client_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TraplineError, match=r"docker: no such command.*apt-get install docker\.io"):
        find_engine("trapline:latest")


def test_an_engine_that_hangs_is_not_waited_for_long(client):
    client.path.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    done = docker_engine.ask([str(client.path), "version"], 0.4)
    assert (done.returncode, done.stderr) == (124, "no answer in 0 s")


@pytest.mark.slow
def test_a_launcher_says_it_in_one_line_before_any_work(client, small_demo):
    client.answer(image_inspect=[1, "", "No such image"])
    place = Place(client.folder.parent / "place")
    words = ["--backend", "local", "--prepared", small_demo, *tiny()]
    done = place.run("resnet18_baseline", *words)
    expected = "error: image trapline:latest: is not there; build it: docker/build.sh\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert not (place.folder / "runs").exists()


def test_a_dry_run_needs_no_engine(small_demo, tmp_path):
    place = Place(tmp_path)
    words = ["--backend", "local", "--image-uri", "mine:2", "--prepared", small_demo, "--dry-run", *tiny()]
    done = place.run("resnet18_baseline", *words, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (request,) = json.loads(done.stdout)["requests"]
    assert request["CreateTrainingJob"]["AlgorithmSpecification"]["TrainingImage"] == "mine:2"


@pytest.fixture
def containers(client, monkeypatch):
    """Make the containers of a job: (host count, **changes of the job) -> NodeContainers."""
    monkeypatch.setattr("tempfile.tempdir", str(client.folder.parent))
    engine = find_engine("trapline:latest")
    with workspace.open_workspace(None) as place:

        def make(count=1, settings="{}", command=("python3",), arguments=("prepare.py",), **changes):
            job = LocalJob(place, None, client.folder, lambda *_: 0, engine, **changes)
            made = NodeContainers("local", count, "i:1", JobSession(job), list(command), list(arguments))
            made.container_root = str(place.root)
            for host in made.hosts:
                (place.root / host / "config").mkdir(parents=True)
                (place.root / host / "config" / "processingjobconfig.json").write_text(settings)
            return made

        yield make


def composed(made):
    """What stands in the file for Compose."""
    return json.loads(made._compose_file.read_text())


def test_the_words_of_a_job_reach_its_container_as_they_are_but_for_what_compose_reads(containers):
    words = ["--source-name=-x", "", "-1", " a 'b' \"c\" ", "$HOME", "python3", "/opt/ml/x"]
    made = containers(command=("python3", "prepare.py"), arguments=words)
    made._generate_compose_file("process")
    (service,) = composed(made)["services"].values()
    assert service["entrypoint"] == ["python3", "prepare.py", *(word.replace("$", "$$") for word in words)]


IN_S3 = '{"input": "s3://traps/raw"}'


def test_credentials_are_given_by_name_and_only_to_a_job_that_names_something_in_s3(containers, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for settings, expected in (("{}", set()), (IN_S3, set(CREDENTIALS))):
        made = containers(settings=settings)
        made._generate_compose_file("process")
        (service,) = composed(made)["services"].values()
        assert set(CREDENTIALS) & set(service["environment"]) == expected
        text = made._compose_file.read_text() + made._nodes_file.read_text()
        assert not [value for value in CREDENTIALS.values() if value in text]
        assert made._compose_file.stat().st_mode & 0o77 == 0
        assert made._nodes_file.stat().st_mode & 0o77 == 0


def test_of_an_environment_names_alone_are_written_and_compose_inherits_the_values(
    containers, client, monkeypatch
):
    proxy, secret = "http://user:planted-password@proxy:3128", "planted-by-the-request"
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    made = containers(settings=json.dumps({"Environment": {"TOKEN": secret}}))
    made._generate_compose_file("process", additional_env_vars={"TOKEN": secret})
    (service,) = composed(made)["services"].values()
    assert {"HTTPS_PROXY", "TOKEN"} <= set(service["environment"])
    given = {}
    monkeypatch.setattr(docker_internals, "ask", lambda *_, **environment: given.update(environment) or DONE)
    made._compose()
    assert given["TOKEN"] == secret
    written = "".join(path.read_text() for path in Path(made.container_root).rglob("*.json"))
    assert "TOKEN" in written
    assert "planted" not in written


def test_containers_are_the_users_and_bear_the_workspaces_label(containers):
    made = containers(count=2)
    made._generate_compose_file("process")
    content, identity = composed(made), made.job.workspace.identity
    assert len(content["services"]) == 2
    for service in content["services"].values():
        assert service["user"] == f"{os.getuid()}:{os.getgid()}"
        assert service["labels"] == {docker_engine.LABEL: identity}
        assert service["shm_size"] == "2g"
        assert "tty" not in service
        assert "GLOO_SOCKET_IFNAME=eth0" in service["environment"]
    assert content["networks"] == {"sagemaker-local": {"labels": {docker_engine.LABEL: identity}}}


def test_a_dollar_in_an_argument_is_no_variable_of_compose(containers):
    made = containers(arguments=("prepare.py", "--site-regex", r"/(?P<site>s\d)$"))
    made._generate_compose_file("process")
    (service,) = composed(made)["services"].values()
    assert service["entrypoint"][-1] == r"/(?P<site>s\d)$$"


def test_folders_that_are_mounted_exist_and_are_not_made_by_the_engine(containers):
    made = containers(mounts=(("/somewhere/torch", TORCH_CACHE),))
    made._generate_compose_file("train")
    (service,) = composed(made)["services"].values()
    assert {volume["type"] for volume in service["volumes"]} == {"bind"}
    sources = {volume["target"]: volume["source"] for volume in service["volumes"]}
    assert Path(sources["/opt/ml/output/data"]).is_dir()
    assert sources[TORCH_CACHE] == "/somewhere/torch"
    assert f"TORCH_HOME={TORCH_CACHE}" in service["environment"]


def test_an_endpoint_of_this_machine_is_reached_in_its_own_network(containers, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:5000")
    made = containers(settings=IN_S3)
    made._generate_compose_file("process")
    (service,) = composed(made)["services"].values()
    assert service["network_mode"] == "host"
    assert "AWS_ENDPOINT_URL_S3" in service["environment"]
    assert "networks" not in composed(made)
    with pytest.raises(TraplineError, match="serves one instance only"):
        containers(count=2, settings=IN_S3)._generate_compose_file("process")


def test_containers_that_cannot_be_made_leave_nothing_and_say_why(containers, client):
    client.answer(compose=[1, "", "no space left on device\n"], ps=[0, "c1\n", ""])
    made = containers()
    made._generate_compose_file("process")
    with pytest.raises(TraplineError, match="the container cannot be made: no space left on device"):
        made._compose()
    assert ["rm", "--force", "--volumes", "c1"] in client.calls()
    assert not made._compose_file.exists()


def test_containers_and_networks_are_found_by_their_label_alone(client):
    client.answer(ps=[0, "c1\nc2\n", ""], network_ls=[0, "n1\n", ""])
    assert remove_what_is_left(str(client.path), "job-x")
    wanted = ["--filter", f"label={docker_engine.LABEL}=job-x"]
    assert ["ps", "--all", "--quiet", *wanted] in client.calls()
    assert ["rm", "--force", "--volumes", "c1", "c2"] in client.calls()
    assert ["network", "rm", "n1"] in client.calls()


def test_a_killed_launchers_containers_are_swept_by_the_next_command(client, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(client.folder.parent))
    registry = client.folder.parent / f"trapline-{os.getuid()}"
    (registry / "job-dead").mkdir(parents=True, mode=0o700)
    (registry / "job-dead" / workspace.DOCKER).write_text(str(client.path))
    client.answer(ps=[1, "", NO_DAEMON])
    with workspace.open_workspace(None):
        assert (registry / "job-dead").exists()  # nobody could look: the task stays
    client.answer(ps=[0, "c1\n", ""])
    with workspace.open_workspace(None):
        assert not (registry / "job-dead").exists()
    assert ["rm", "--force", "--volumes", "c1"] in client.calls()


def test_a_client_that_is_interrupted_ends_what_it_has_begun(tmp_path):
    """A killed client's order would still be carried out, after the cleaning up."""
    begun, done, script = tmp_path / "begun", tmp_path / "done", tmp_path / "ask.py"
    order = f"touch {begun}; sleep 1; touch {done}"
    script.write_text(
        f"from trapline.launching.local.docker_engine import ask\nask(['/bin/sh', '-c', {order!r}])\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], cwd=ROOT,
                               env={**os.environ, "PYTHONPATH": "."}, stderr=subprocess.DEVNULL)  # fmt: skip
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    assert done.exists()


def test_first_weights_of_this_machine_are_shown_to_the_container(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    file = tmp_path / "first.safetensors"
    file.touch()
    assert weights_mounts(str(file)) == ((str(file), str(file)),)
    assert weights_mounts("imagenet") == ((str(tmp_path / "cache"), TORCH_CACHE),)
    assert weights_mounts("none", str(file), "imagenet", str(file)) == (
        (str(file), str(file)),
        (str(tmp_path / "cache"), TORCH_CACHE),
    )
    assert weights_mounts("none") == weights_mounts("s3://b/x.pth") == weights_mounts("phase1") == ()
