"""The Docker engine of this machine: whether it can run a job, and what of a job is left in it.

Every container and network of a job bears the label `trapline.workspace=<identity of its workspace>`. It is
all that is needed to find and remove them, whoever does it. Only the standard library is used.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.errors import TraplineError

IMAGE = "trapline:latest"  # what docker/build.sh makes
LABEL = "trapline.workspace"
ANSWER = 30.0  # seconds for the engine to answer a question
PATIENCE = 10.0  # seconds for a question to end after Ctrl-C
REMOVAL = 60.0  # seconds for it to remove what is left
INSTEAD = "or use --backend process, which needs no Docker"
NVIDIA_TOOLS = ("nvidia-container-runtime-hook", "nvidia-ctk")  # of the NVIDIA container toolkit


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and the image that jobs run in.

    user: `uid:gid` for the containers, so that what they write belongs to the user; None where the engine
    runs without root, and the root of a container is the user. gpu: whether containers can have one.
    """

    docker: str  # the client
    compose: tuple[str, ...]  # the command
    user: str | None
    gpu: bool
    image: str
    image_id: str


def find_engine(image: str) -> Engine:
    """The engine of this machine. Raises TraplineError saying what is missing, with the command to run."""
    docker = shutil.which("docker")
    if docker is None:
        raise TraplineError(
            "docker: no such command, and --backend local runs its jobs in containers; install Docker Engine "
            f"with Compose (Debian, Ubuntu: apt-get install docker.io docker-compose), {INSTEAD}"
        )
    information = _information(docker)
    rootless = any("rootless" in option for option in information.get("SecurityOptions") or [])
    return Engine(
        docker=docker,
        compose=_find_compose(docker),
        user=None if rootless else f"{os.getuid()}:{os.getgid()}",
        image=image,
        image_id=_image_id(docker, image),
        gpu=_gpu_for_containers(information),
    )


def ask(
    command: Sequence[str], seconds: float = ANSWER, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a client to its end; its exit code is 124 where there was no answer in time, 127 where no client.

    Ctrl-C does not reach it, and is raised once it has ended: what a killed client has ordered is still made.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env={**os.environ, **environment}, process_group=0,
        )  # fmt: skip
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    try:
        output, errors = process.communicate(timeout=seconds)
    except KeyboardInterrupt:
        _end(process, PATIENCE)
        raise
    except subprocess.TimeoutExpired:
        _end(process, 0)
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {seconds:.0f} s")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end(process: "subprocess.Popen[str]", patience: float) -> None:
    """Wait for the process to end, and kill it where that takes too long."""
    try:
        process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _information(docker: str) -> Mapping[str, Any]:
    """What the engine says of itself."""
    done = ask([docker, "version", "--format", "{{.Server.Version}}"])
    if done.returncode == 0 and done.stdout.strip():
        done = ask([docker, "info", "--format", "{{json .}}"])
        with contextlib.suppress(ValueError):  # an answer that is none is told below
            return dict(json.loads(done.stdout))
    lines = (done.stderr or done.stdout).strip().splitlines()
    said = lines[-1].strip() if lines else "it says nothing"
    remedy = "start it: sudo systemctl start docker (without systemd: sudo dockerd)"
    if "permission denied" in said.lower():
        remedy = 'you may not use it; run: sudo usermod -aG docker "$USER", and log in again'
    raise TraplineError(f"the Docker engine does not answer ({said}); {remedy}, {INSTEAD}")


def _find_compose(docker: str) -> tuple[str, ...]:
    """The command of Docker Compose: the client's own of any version, else the older one beside it."""
    for command in ((docker, "compose"), (shutil.which("docker-compose") or "",)):
        if command[0] and ask([*command, "version"]).returncode == 0:
            return command
    raise TraplineError(
        "docker compose: not there, and local mode needs it; install it (Debian: apt-get install "
        f"docker-compose; with Docker's own packages: apt-get install docker-compose-plugin), {INSTEAD}"
    )


def _image_id(docker: str, image: str) -> str:
    done = ask([docker, "image", "inspect", "--format", "{{.Id}}", image])
    if done.returncode == 0:
        return done.stdout.strip()
    if image == IMAGE:
        raise TraplineError(f"image {image}: is not there; build it: docker/build.sh")
    raise TraplineError(
        f"image {image}: is not there; get it: docker pull {image} (from ECR: docker login first), or build "
        f"{IMAGE} with docker/build.sh and leave --image-uri out"
    )


def _gpu_for_containers(information: Mapping[str, Any]) -> bool:
    if shutil.which("nvidia-smi") is None or ask(["nvidia-smi", "--list-gpus"]).returncode:
        return False
    runtimes = information.get("Runtimes")
    if (isinstance(runtimes, dict) and "nvidia" in runtimes) or any(map(shutil.which, NVIDIA_TOOLS)):
        return True
    print(
        "the GPU is not used: Docker cannot give it to a container; install nvidia-container-toolkit",
        flush=True,
    )
    return False


def remove_what_is_left(docker: str, identity: str) -> bool:
    """Remove the containers and networks of a workspace, running ones too. Returns whether none is left.

    Asked twice, as what a killed client had ordered may appear after it.
    """
    wanted = ["--quiet", "--filter", f"label={LABEL}={identity}"]
    deadline, clean = time.monotonic() + REMOVAL, 0
    while clean < 2 and time.monotonic() < deadline:
        containers = ask([docker, "ps", "--all", *wanted])
        networks = ask([docker, "network", "ls", *wanted])
        if containers.returncode or networks.returncode:
            return False  # the engine does not answer
        clean = 0 if containers.stdout.split() or networks.stdout.split() else clean + 1
        for found, remove in ((containers, ["rm", "--force", "--volumes"]), (networks, ["network", "rm"])):
            if names := found.stdout.split():
                ask([docker, *remove, *names], REMOVAL)
    return clean == 2
