"""The image of docker/build.sh: what is in it, and that it trains, processes and serves as SageMaker asks."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import trapline
from tests.conftest import ROOT
from tests.docker.conftest import PATIENCE
from tests.support.serving import serving
from tests.support.small_models import coloured, picture, write_small_model
from trapline import metrics
from trapline.job_contract import shipped_files
from trapline.launching.checkout import package_name, pins, stage_code
from trapline.models.artefact import load_model

pytestmark = pytest.mark.docker

PICTURES = [picture(seed, 90 + 5 * seed, 150) for seed in range(8)]
SETTINGS = {"TRAPLINE_PRECISION": "fp32", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1", "OMP_NUM_THREADS": "1"}
COMPILERS = ["gcc", "g++", "cc", "c++", "clang", "nvcc", "ptxas", "as", "ld", "make", "cmake"]


@pytest.fixture(scope="module")
def files(docker, image):
    """The path of every file and folder in the image, folders with a slash at the end."""
    listing = """
import os
for at, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(at, name) not in ("/proc", "/sys", "/dev")]
    for path in (os.path.join(at, name) for name in ["", *files]):
        print(path)
"""
    return docker.run("run", "--rm", image, "python3", "-c", listing).stdout.splitlines()


def test_installed_versions_are_those_of_the_constraints(docker, image):
    listed = json.loads(
        docker.run("run", "--rm", image, "python3", "-m", "pip", "list", "--format=json").stdout
    )
    pinned = pins((ROOT / "constraints.txt").read_text())
    installed = {package_name(entry["name"]): entry["version"].split("+")[0] for entry in listed}
    tools = {"pip", "setuptools", "wheel"}
    assert {"torch", "sagemaker-training", "sagemaker-pytorch-training"} <= set(installed)
    assert {
        name: version
        for name, version in installed.items()
        if pinned.get(name) != version and name not in tools
    } == {}


def test_it_carries_no_compiler_and_no_headers(files):
    programs = [path for path in files if "/bin/" in path and path.rsplit("/", 1)[1] in COMPILERS]
    assert programs == []
    assert [path for path in files if re.search(r"/(Python\.h|libtriton\.so|libcicc.*)$", path)] == []


def test_it_carries_no_caches_and_no_tests(files):
    cached = r"^(/root/\.cache/.|/home/.*/\.cache/|/var/(cache/apt|lib/apt/lists)/.*[^/]$|/tmp/.|/build/)"
    assert [path for path in files if re.search(cached, path)] == []
    assert [path for path in files if re.search(r"^/opt/.*/(tests?/|conftest\.py$)", path)] == []


def test_it_keeps_nothing_of_the_machine_that_built_it(files):
    assert [path for path in files if re.search(r"/(pip\.conf|\.netrc|credentials|secrets/.+)$", path)] == []


def test_labels_say_version_and_revision(docker, image):
    labels = json.loads(docker.inspect(image, "{{json .Config.Labels}}"))
    assert labels["org.opencontainers.image.version"] == trapline.__version__
    assert re.fullmatch(r"[0-9a-f]{40}(-modified)?|unknown|\S+", labels["org.opencontainers.image.revision"])


def test_every_module_of_the_library_can_be_imported_and_no_launcher_is_there(docker, image):
    code = """
import importlib, pkgutil, sys
sys.path.insert(0, "/opt/trapline")
import trapline
names = [found.name for found in pkgutil.walk_packages(trapline.__path__, "trapline.")]
for name in names:
    importlib.import_module(name)
print(trapline.__version__, *sorted(names))
"""
    said = docker.run("run", "--rm", image, "python3", "-c", code).stdout.split()
    files = [Path(name) for name, _ in shipped_files(None)]
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert said == [trapline.__version__, *sorted(modules - {"trapline"})]


# Serving


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def ask(self, body, content_type="image/jpeg", *, path="/invocations", method="POST", **headers):
        """Status, content type and body of the answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            fields = {"Content-Type": content_type, **{name.title(): text for name, text in headers.items()}}
            connection.request(method, path, body, fields)
            reply = connection.getresponse()
            return reply.status, reply.headers["Content-Type"], reply.read()


def published(docker, name, port):
    """Where a container's port can be reached, once `serve` says that it is ready."""
    ends = time.monotonic() + PATIENCE
    while "[SERVE] port=" not in (said := logs(docker, name)):
        assert docker.inspect(name, "{{.State.Running}}") == "true", said
        assert time.monotonic() < ends, said
        time.sleep(0.1)
    host, _, number = docker.run("port", name, port).stdout.splitlines()[0].rpartition(":")
    return Address(host, int(number))


def logs(docker, name):
    done = docker.run("logs", name)
    return done.stdout + done.stderr


def serve_options(model, port=8080, **settings):
    given = [word for name, text in settings.items() for word in ("--env", f"{name}={text}")]
    return ["--volume", f"{model}:/opt/ml/model:ro", "--publish", f"127.0.0.1::{port}", *given]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"), views=["plain", "horizontal_flip"])


@pytest.fixture(scope="module")
def served(docker, image, model):
    """A container that serves the model."""
    name = "trapline-test-served-" + os.urandom(4).hex()
    docker.run("run", "--detach", "--name", name, *serve_options(model, **SETTINGS), image, "serve")
    try:
        yield published(docker, name, 8080)
    finally:
        docker.attempt("rm", "--force", "--volumes", name)


def requests():
    """(body, content type, headers): images that can be read, images that cannot, and several at once."""
    array = io.BytesIO()
    np.save(array, np.full((40, 50, 3), 90, np.uint8))
    several = json.dumps(
        {"images": [base64.b64encode(data).decode() for data in [*PICTURES[:2], b"no image"]]}
    )
    yield from ((data, "image/jpeg", {}) for data in PICTURES)
    yield from ((data, "application/x-image", {}) for data in (coloured(9), PICTURES[0][:-200], b"", b"text"))
    yield array.getvalue(), "application/x-npy", {}
    yield several.encode(), "application/json", {}
    yield several.encode(), "application/json", {"accept": "text/csv"}
    yield PICTURES[0], "text/plain", {}
    yield bytes(2 * 2**20), "image/jpeg", {}


def test_it_answers_as_serve_py_does_here_byte_for_byte(served, model):
    with serving(model, **SETTINGS) as here:
        there = [served.ask(body, kind, **headers) for body, kind, headers in requests()]
        for (body, kind, headers), answer in zip(requests(), there, strict=True):
            status, fields, content = here.ask(body, kind, **headers)
            assert answer == (status, fields["Content-Type"], content)
    assert {status for status, _, _ in there} == {200, 413, 415, 422}


def test_two_hundred_requests_from_sixteen_clients_get_their_own_answers(served):
    def probabilities(index):
        if index % 20 == 7:
            return served.ask(PICTURES[0][:-200])[0]
        status, _, content = served.ask(PICTURES[index % len(PICTURES)])
        return status == 200 and list(json.loads(content)["probabilities"].values())

    alone = [probabilities(index) for index in range(7)] + [
        list(json.loads(served.ask(PICTURES[7])[2])["probabilities"].values())
    ]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(probabilities, range(200)))
    damaged = [answer for index, answer in enumerate(answers) if index % 20 == 7]
    good = [(answer, alone[index % 8]) for index, answer in enumerate(answers) if index % 20 != 7]
    assert damaged == [422] * 10
    assert np.abs(np.array([a for a, _ in good]) - np.array([b for _, b in good])).max() < 1e-4
    assert served.ask(b"", path="/ping", method="GET")[0] == 200


def test_in_batch_on_another_port_sigterm_ends_it_with_0_after_its_answer(docker, image, container, model):
    options = serve_options(model, 9000, **SETTINGS, SAGEMAKER_BIND_TO_PORT="9000", SAGEMAKER_BATCH="true")
    name = container(*options, image, "serve")
    address = published(docker, name, 9000)
    status, _, content = address.ask(b"damaged")
    assert (status, json.loads(content)["reason"]) == (200, "not_an_image")
    docker.run("stop", "--time", "30", name)
    assert docker.inspect(name, "{{.State.ExitCode}}") == "0"


def test_a_model_is_served_by_the_code_that_it_brings_where_that_is_trusted(docker, image, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "serve.py").write_text("import sys\nprint('its own code', sys.argv[1:])\n")
    done = docker.run(
        "run",
        "--rm",
        "--volume",
        f"{tmp_path}:/opt/ml/model:ro",
        image,
        "serve",
        "--trust-code",
        "--port",
        "1",
    )
    assert done.stdout == "its own code ['--host', '0.0.0.0', '--port', '1']\n"


# Processing and training


def test_a_processing_job_runs_the_code_that_it_brings(docker, image, tmp_path):
    stage_code(tmp_path / "code")
    user = f"{os.getuid()}:{os.getgid()}"
    done = docker.run(
        "run", "--rm", "--volume", f"{tmp_path}:/opt/ml/processing", "--user", user, image,
        "python3", "/opt/ml/processing/code/prepare.py", "--input", "demo", "--short-side", 64,
        "--demo-images", 120, "--demo-sites", 8, "--demo-unlabeled", 16, "--max-quarantine", 0.3,
        "--output", "/opt/ml/processing/prepared",
    )  # fmt: skip
    assert json.loads((tmp_path / "prepared" / "dataset.json").read_text())["classes"], done.stdout


def job_folder(folder, code, hosts=("algo-1",), current="algo-1", **values):
    """What SageMaker puts below /opt/ml before a training job; `code` lies in /opt/ml/code."""
    config = folder / "input" / "config"
    config.mkdir(parents=True)
    own = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "/opt/ml/code"}
    resources = {"current_host": current, "hosts": list(hosts), "network_interface_name": "eth0"}
    channel = {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    texts = {name: json.dumps(value) for name, value in {**own, **values}.items()}
    (config / "hyperparameters.json").write_text(json.dumps(texts))
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    (config / "inputdataconfig.json").write_text(json.dumps({"prepared": channel}))
    (folder / "input" / "data" / "prepared").mkdir(parents=True)
    shutil.move(code, folder / "code")
    return folder


def train_options(folder, host="algo-1"):
    return ["--hostname", host, "--shm-size", "512m", "--volume", f"{folder}:/opt/ml"]


def test_the_toolkit_trains_what_the_job_brings_and_leaves_the_artefact(docker, image, tmp_path, small_demo):
    values = {
        "arch": "shufflenet_v2_x0_5",
        "weights": "none",
        "image_size": 32,
        "epochs": 1,
        "batch_size": 32,
        "num_workers": 1,
        "clip_norm": None,
    }
    folder = job_folder(tmp_path / "ml", stage_code(tmp_path / "code"), **values)
    prepared = ["--volume", f"{small_demo}:/opt/ml/input/data/prepared:ro"]
    done = docker.run("run", "--rm", *train_options(folder), *prepared, image, "train")
    _, description = load_model(folder / "model")
    assert description.configuration["clip_norm"] is None
    lines = [line for line in done.stdout.splitlines() if metrics.START in line]
    assert [metrics.read_values(line)["epoch"] for line in lines] == [1]
    assert (folder / "output" / "data" / "metrics.csv").exists()
    assert not (folder / "output" / "failure").exists()


TOLD = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(1)
    pathlib.Path("/opt/ml/checkpoints").mkdir(exist_ok=True)
    pathlib.Path("/opt/ml/checkpoints/last").write_text("saved")
    sys.exit({code})
signal.signal(signal.SIGTERM, save)
print("it trains", flush=True)
time.sleep(60)
"""
DEAF = "import time\nprint('it trains', flush=True)\ntime.sleep(60)\n"


def stopped(docker, image, container, folder, script):
    """Exit code of `train` after SIGTERM, the seconds it took, and the job's folder."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "train.py").write_text(script)
    job = job_folder(folder / "ml", folder / "code")
    name = container(*train_options(job), image, "train")
    ends = time.monotonic() + PATIENCE
    while "it trains" not in logs(docker, name):
        assert time.monotonic() < ends, logs(docker, name)
        time.sleep(0.1)
    started = time.monotonic()
    docker.run("stop", "--time", "30", name)
    return int(docker.inspect(name, "{{.State.ExitCode}}")), time.monotonic() - started, job


def test_sigterm_reaches_a_training_script_which_saves_and_says_how_it_ended(
    docker, image, container, tmp_path
):
    code, seconds, job = stopped(docker, image, container, tmp_path, TOLD.format(code=0))
    assert code == 0
    assert (job / "checkpoints" / "last").read_text() == "saved"
    assert seconds < 15


def test_sigterm_ends_a_training_script_that_does_not_listen_and_the_exit_code_says_so(
    docker, image, container, tmp_path
):
    code, seconds, _ = stopped(docker, image, container, tmp_path, DEAF)
    assert code == 143
    assert seconds < 15


def test_a_failed_script_fails_the_job(docker, image, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("raise SystemExit(3)")
    folder = job_folder(tmp_path / "ml", tmp_path / "code")
    done = docker.attempt("run", "--rm", *train_options(folder), image, "train")
    assert done.returncode == 1
    assert "ExitCode 3" in (folder / "output" / "failure").read_text()


SUM_OF_RANKS = """
import os, pathlib, torch, torch.distributed as distributed
distributed.init_process_group("gloo")
rank = torch.tensor([distributed.get_rank() + 1.0])
distributed.all_reduce(rank)
pathlib.Path("/opt/ml/model").mkdir(exist_ok=True)
pathlib.Path("/opt/ml/model/sum").write_text(f"{int(rank)} of {distributed.get_world_size()}")
distributed.barrier()
"""


def test_train_starts_torchrun_on_two_instances_that_ask_for_it(docker, image, container, tmp_path):
    hosts, names, folders = ("algo-1", "algo-2"), [], []
    network = "trapline-test-" + os.urandom(4).hex()
    docker.run("network", "create", network)
    for host in hosts:
        code = tmp_path / host
        code.mkdir()
        (code / "train.py").write_text(SUM_OF_RANKS)
        asked = {"sagemaker_torch_distributed_enabled": True, "sagemaker_instance_type": "local"}
        folders.append(job_folder(tmp_path / f"ml-{host}", code, hosts, host, **asked))
    try:
        for host, folder in zip(hosts, folders, strict=True):
            options = ["--network", network, "--network-alias", host]
            names.append(container(*options, *train_options(folder, host), image, "train"))
        codes = [docker.run("wait", name).stdout.strip() for name in names]
        assert codes == ["0", "0"], [logs(docker, name) for name in names]
        assert [(folder / "model" / "sum").read_text() for folder in folders] == ["3 of 2", "3 of 2"]
    finally:
        for name in names:
            docker.attempt("rm", "--force", name)
        docker.attempt("network", "rm", network)
