"""Where the server listens: for this machine alone, but in a container for whoever reaches that."""

import re
import subprocess

import pytest

from tests.conftest import ROOT
from trapline.job_options import ServeOptions
from trapline.options import read_options


def read(flags):
    return read_options(ServeOptions, "serve.py", flags)


@pytest.fixture
def in_a_container(tmp_path):
    """The flags that serve.py gets from the container's `serve`, whichever code that chooses."""
    script = tmp_path / "serve"
    (last,) = re.findall(r'^exec "\$python" (.*)$', (ROOT / "docker" / "serve").read_text(), re.MULTILINE)
    script.write_text(f"own=serve.py\nprintf '%s\\n' {last}\n")

    def made(*arguments):
        done = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[1:]

    return made


def test_by_itself_it_listens_on_the_loopback_address():
    assert read([]).host == "127.0.0.1"


def test_in_a_container_it_can_be_reached(in_a_container):
    flags = in_a_container("--port", "1")
    assert read(flags).host == "0.0.0.0"
    assert read(flags).port == 1


@pytest.mark.parametrize("flags", [["--host", "127.0.0.9"], ["--host=127.0.0.9"]])
def test_a_host_that_is_given_counts_there_too(in_a_container, flags):
    assert read(in_a_container(*flags)).host == "127.0.0.9"
