"""The training script under AWS's own training toolkit, with the folders of a SageMaker container."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ENTRY_POINTS, ROOT
from trapline import metrics
from trapline.models.artefact import load_model

pytest.importorskip("sagemaker_training")

HYPERPARAMETERS = {
    "weights": "none",
    "image_size": 32,
    "epochs": 1,
    "batch_size": 32,
    "num_workers": 0,
    "clip_norm": None,
    "deterministic": True,
}


@pytest.fixture
def container(tmp_path, small_demo):
    """The content of /opt/ml before the job: code, configuration and the channel `prepared`."""
    code, config = tmp_path / "code", tmp_path / "input" / "config"
    shutil.copytree(ENTRY_POINTS, code, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "src" / "common" / "trapline", code / "trapline", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "input" / "data").mkdir(parents=True)
    (tmp_path / "input" / "data" / "prepared").symlink_to(small_demo)
    config.mkdir()
    (config / "resourceconfig.json").write_text(
        json.dumps({"current_host": "127.0.0.1", "hosts": ["127.0.0.1"], "network_interface_name": "lo"})
    )
    channel = {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    (config / "inputdataconfig.json").write_text(json.dumps({"prepared": channel}))
    return tmp_path


def train(container, **changes):
    """Run the toolkit's `train`, which runs train.py with what the SDK would have written."""
    own = {"sagemaker_program": "train.py", "sagemaker_submit_directory": str(container / "code")}
    values = {**own, **HYPERPARAMETERS, **changes}
    path = container / "input" / "config" / "hyperparameters.json"
    path.write_text(json.dumps({name: json.dumps(value) for name, value in values.items()}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    environment |= {"SAGEMAKER_BASE_DIR": str(container), "SM_STUDIO_LOCAL_MODE": "True"}
    command = [sys.executable, "-m", "sagemaker_training.cli.train"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=container)


@pytest.mark.long  # every job of tests/launching/local/test_processes.py runs under the toolkit
def test_the_toolkit_trains_and_leaves_the_artefact_where_sagemaker_takes_it(container):
    done = train(container)
    assert done.returncode == 0, done.stdout + done.stderr
    _, description = load_model(container / "model")
    assert description.configuration["deterministic"] is True
    assert description.configuration["clip_norm"] is None
    lines = [line for line in done.stdout.splitlines() if metrics.START in line]
    assert [metrics.read_values(line)["epoch"] for line in lines] == [1]
    assert (container / "output" / "data" / "metrics.csv").exists()
    assert not (container / "output" / "failure").exists()


def test_a_failed_job_tells_the_platform_why(container):
    done = train(container, lr=-1)
    assert done.returncode != 0
    reason = (container / "output" / "failure").read_text()
    assert reason == "hyperparameter lr: input should be greater than 0 (got -1)"
