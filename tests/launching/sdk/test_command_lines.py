"""The command line of a local job: its own words lead to its folders, a user's stay as they are."""

import json

import pytest

pytest.importorskip("sagemaker")

from trapline.launching.local.workspace import open_workspace
from trapline.launching.sdk.internals import JobSession, LocalJob, NodeProcesses

OF_A_USER = [
    "python3", "/opt/ml/input", "see /opt/ml/processing/x", "--source-name=-/opt/ml/processing/x", "", "-1",
    " a 'b' \"c\" ", "$HOME;`ls`", "a=b=c",
]  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch):
    """What would be started of an entry point and its arguments: (entry point, arguments) -> words."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with open_workspace(None) as place:
        session = JobSession(LocalJob(place, None, tmp_path, lambda *_: 0))

        def command(program, arguments):
            made = NodeProcesses("local", 1, "image", session, program, arguments)
            made.container_root = str(place.root)
            (place.root / made.hosts[0] / "config").mkdir(parents=True)
            made._generate_compose_file("process")
            (node,) = json.loads(made._nodes_file.read_text())
            return [word.replace(node["folder"], "BASE") for word in node["command"]]

        yield command


def test_the_words_of_a_user_stay_as_they_are(command):
    own = ["--input", "/opt/ml/processing/input/data"]
    words = command(["python3", "/opt/ml/processing/input/code/prepare.py"], [*own, *OF_A_USER])
    assert words[0] != "python3"
    assert words[1:4] == ["BASE/processing/input/code/prepare.py", "--input", "BASE/processing/input/data"]
    assert words[4:] == OF_A_USER
