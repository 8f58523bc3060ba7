"""The Docker engine and the image that the tests here need; without them they are skipped."""

import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from typing import NoReturn

import pytest

PATIENCE = 60  # seconds


def missing(reason) -> NoReturn:
    """Skip the test, or let it fail where TRAPLINE_DOCKER=required says that there must be an engine."""
    if os.environ.get("TRAPLINE_DOCKER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Docker:
    """A docker command whose engine answers."""

    command: str

    def run(self, *arguments, **options):
        """CompletedProcess with text output; it must succeed."""
        done = self.attempt(*arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def attempt(self, *arguments, **options):
        """The same, which may fail."""
        return subprocess.run([self.command, *map(str, arguments)], capture_output=True, text=True, **options)

    def inspect(self, name, template):
        return self.run("inspect", "--format", template, name).stdout.strip()


@pytest.fixture(scope="session")
def docker():
    """The first docker on PATH whose engine answers, with what the tests need; or a skip; see `missing`."""
    for folder in os.get_exec_path():
        command = shutil.which("docker", path=folder)
        if command and subprocess.run([command, "info"], capture_output=True).returncode == 0:
            return Docker(command)
    missing("no Docker engine answers (docker/test-engine.sh starts one)")


@pytest.fixture(scope="session")
def image(docker):
    """The image under test: TRAPLINE_IMAGE, else trapline:latest; or a skip; see `missing`."""
    name = os.environ.get("TRAPLINE_IMAGE", "trapline:latest")
    if docker.attempt("image", "inspect", name).returncode != 0:
        missing(f"there is no image {name} (docker/build.sh makes it)")
    return name


@pytest.fixture
def container(docker):
    """Start a container in the background: (*arguments of docker run) -> its name. Gone after the test."""
    names = []

    def start(*arguments):
        name = f"trapline-test-{uuid.uuid4().hex[:12]}"
        names.append(name)
        docker.run("run", "--detach", "--name", name, *arguments)
        return name

    yield start
    for name in names:
        docker.attempt("rm", "--force", "--volumes", name)
