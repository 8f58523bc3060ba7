"""What Trapline takes of the SDK's private parts: local mode with processes for containers, and telemetry.

Local mode (v2.257) writes down what a container would get, runs a command (`docker compose up`) and collects
the results; here that command is `local.supervisor`, whose nodes are processes, or clients of
containers (`docker_internals`). No other module uses a private name of the SDK, and
tests/launching/sdk/test_contract.py fails where the SDK changes one that is used here.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import sagemaker.local.image
import sagemaker.local.local_session
import sagemaker.utils
from sagemaker.local import LocalSession
from sagemaker.local.image import _SageMakerContainer, _Volume
from sagemaker.local.local_session import LocalSagemakerClient, LocalSagemakerRuntimeClient

from trapline.errors import TraplineError
from trapline.launching.local.docker_engine import Engine
from trapline.launching.local.failures import failure_of
from trapline.launching.local.workspace import MARKER, Workspace, port_of, reserve_port
from trapline.storage import STORED

OPT_ML = "/opt/ml"
PROCESSING = f"{OPT_ML}/processing/"  # below it lies all that a processing job's own words name
SUPERVISOR, ON_PORT = (
    Path(__file__).parents[1] / "local" / name for name in ("supervisor.py", "train_on_port.py")
)
FOLDERS = {"train": {"output", "output/data", "input"}, "process": {"output", "config"}}  # below /opt/ml
TORCHRUN = {"SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main"}  # has `train` start it
SHARED_MEMORY = "2g"  # at most; it is not set aside
REGION = "us-east-1"  # the SDK wants one; nothing is sent there
# What a job inherits of the launcher's environment; with the rest it would depend on the terminal.
INHERITED = frozenset(
    {"ALL_PROXY", "CURL_CA_BUNDLE", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "LD_LIBRARY_PATH", "LOGNAME"}
    | {"NO_PROXY", "REQUESTS_CA_BUNDLE", "TMPDIR", "TRAPLINE_CACHE", "TZ", "USER", "VIRTUAL_ENV"}
    | {"XDG_CACHE_HOME"}
    | {"all_proxy", "http_proxy", "https_proxy", "no_proxy"}
)
INHERITED_PREFIXES = ("AWS_", "CUDA_", "FSSPEC_", "LC_", "MKL_", "NVIDIA_", "OMP_", "SSL_CERT_", "TORCH_")


@dataclass(frozen=True)
class LocalJob:
    """What a local job needs besides its request."""

    workspace: Workspace
    checkpoints: Path | None  # becomes /opt/ml/checkpoints
    results: Path  # gets output/data, and the failure's evidence
    # Shows the output to its end and returns the exit code; the folders are shown as /opt/ml.
    stream: Callable[["subprocess.Popen[bytes]", list[Path]], int]
    engine: Engine | None = None  # where the nodes are containers
    mounts: tuple[tuple[str, str], ...] = ()  # what else a container sees: (place here, place there)
    log: Path | None = None  # of what `stream` shows


class JobFailed(TraplineError):
    """A job that ended with an error; the message is its own."""


class JobSession(LocalSession):
    """A local session whose jobs run below `job.workspace`, as processes or in containers."""

    def __init__(self, job: LocalJob) -> None:
        super().__init__(boto_session=boto3.Session(region_name=boto3.Session().region_name or REGION))
        self.job = job
        self.config = {
            "local": {
                "container_root": str(job.workspace.root),
                "local_code": True,
                # Workers hand over batches through shared memory, of which Docker gives 64 MB where nothing
                # is said.
                "container_config": {"shm_size": SHARED_MEMORY},
            }
        }

    def _initialize(self, boto_session: Any, *_: Any, **__: Any) -> None:
        """What the base class does, without the S3 clients, which take a third of a second to make.

        What lies in S3 is copied by Trapline itself. The account's defaults file is not for jobs here.
        """
        self.boto_session = boto_session
        self._region_name = boto_session.region_name
        self.local_mode = True
        self.sagemaker_config: dict[str, Any] = {}
        self.sagemaker_client = LocalSagemakerClient(self)
        self.sagemaker_runtime_client = LocalSagemakerRuntimeClient(self.config)

    def default_bucket(self) -> str:
        """A name for URIs that are made before it is clear that nothing is uploaded."""
        return "local-backend"

    def upload_data(self, path: str, *_: Any, **__: Any) -> str:
        """Nothing is uploaded: a folder stays where it is."""
        return path if path.startswith("file:") else f"file://{path}"

    def read_s3_file(self, bucket: str, key_prefix: str) -> str:
        """The text of a pipeline's property file, which lies on this machine."""
        return Path(bucket, key_prefix).read_text(encoding="utf-8")

    def process(self, *arguments: Any, **settings: Any) -> None:
        """Run a processing job; a parameter stands for its default value."""
        super().process(*arguments, **mapped(settings, lambda leaf: getattr(leaf, "default_value", leaf)))


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with whatever is neither a dictionary nor a list in it changed."""
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    return [mapped(item, change) for item in value] if isinstance(value, list) else change(value)


@contextlib.contextmanager
def local_jobs(nodes: type["NodeJob"]) -> Iterator[None]:
    """While the block runs, the SDK's local jobs are of the class `nodes`."""
    with replaced(
        (sagemaker.local.local_session, "_SageMakerContainer", nodes),
        # The SDK's own loses the last lines of a process that ends quickly, and swallows Ctrl-C.
        (
            sagemaker.local.image,
            "_stream_output",
            lambda process: _jobs.pop(process.args[-1]).follow(process),
        ),
        # The module, as the SDK uses it, but for the start of a supervisor.
        (
            sagemaker.local.image,
            "subprocess",
            SimpleNamespace(**{**vars(subprocess), "Popen": start_supervisor}),
        ),
        (sagemaker.utils, "create_tar_file", _pack),
    ):
        yield


@contextlib.contextmanager
def replaced(*replacements: tuple[Any, str, Any]) -> Iterator[None]:
    """While the block runs, modules have something else under some names: (module, name, replacement)."""
    originals = [getattr(module, name) for module, name, _ in replacements]
    for module, name, replacement in replacements:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for (module, name, _), original in zip(replacements, originals, strict=True):
            setattr(module, name, original)


def _pack(source_files: Sequence[str], target: str) -> str:
    """A tar.gz of files and folders, links followed; the SDK's own presses weights at the slowest level."""
    with tarfile.open(target, "w:gz", compresslevel=STORED, dereference=True) as archive:
        for path in map(Path, source_files):
            archive.add(path, path.name)
    return target


def start_supervisor(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """A process that also has the environment which the job's request asks for.

    It is inherited, as credentials are: values are written nowhere.
    """
    job = _jobs.get(command[-1])
    return subprocess.Popen(command, env={**os.environ, **(job.given if job else {})}, **options)


_jobs: dict[str, "NodeJob"] = {}  # by their nodes files, the last word of a supervisor's command


class NodeJob(_SageMakerContainer):
    """The container of a local job: what processes and containers have in common."""

    def __init__(
        self,
        instance_type: str,
        instance_count: int,
        image: str,
        sagemaker_session: JobSession,
        container_entrypoint: list[str] | None = None,
        container_arguments: list[str] | None = None,
    ) -> None:
        """The arguments are those of the class that this replaces, which would look for docker."""
        self.instance_type, self.instance_count, self.image = instance_type, instance_count, image
        self.container_entrypoint, self.container_arguments = container_entrypoint, container_arguments
        self.sagemaker_session = sagemaker_session
        self.is_studio = False
        self.hosts = self._host_names()
        self.container_root: str | None = None
        self.container = None
        self.job: LocalJob = sagemaker_session.job
        self.exit_code: int | None = None
        self.given: dict[str, str] = {}  # what the request says of the environment

    def _host_names(self) -> list[str]:
        raise NotImplementedError

    @property
    def _nodes_file(self) -> Path:
        assert self.container_root is not None
        return Path(self.container_root) / "nodes.json"

    def _build_optml_volumes(self, host: str, subdirs: set[str]) -> list[Any]:
        volumes = super()._build_optml_volumes(host, subdirs)
        if self.job.checkpoints and "input" in subdirs:
            volumes.append(_Volume(str(self.job.checkpoints), f"{OPT_ML}/checkpoints"))
        return list(volumes)

    def _compose(self, detached: bool = False) -> list[str]:
        _jobs[str(self._nodes_file)] = self
        return [sys.executable, "-IS", str(SUPERVISOR), str(self._nodes_file)]

    def follow(self, process: "subprocess.Popen[bytes]") -> int:
        """Show the output to its end. Raises JobFailed with what the job wrote of its failure, or its log."""
        folders = [self._nodes_file.parent / host for host in self.hosts]
        try:
            self.exit_code = self.job.stream(process, folders)
        finally:
            self.remove()
        if self.exit_code:
            raise JobFailed(failure_of(folders, self.exit_code, self.job.log, OPT_ML))
        return 0

    def remove(self) -> None:
        """Leave nothing of what ran."""

    def retrieve_artifacts(self, compose_data: Any, output_data_config: Any, job_name: str) -> str | None:
        """Keep output/data, and pack the model of a job that succeeded; a failed one has none."""
        output = self._nodes_file.parent / self.hosts[0] / "output" / "data"
        if output.is_dir():
            shutil.copytree(output, self.job.results, dirs_exist_ok=True)
        if self.exit_code != 0:
            return None
        if not (self._nodes_file.parent / "model" / "model.json").is_file():
            raise JobFailed("the job ended without an error, but left no model")
        location = super().retrieve_artifacts(compose_data, output_data_config, job_name)
        (self.job.results / "output.tar.gz").unlink(missing_ok=True)  # its files lie beside it
        return str(location)

    def _upload_processing_outputs(self, data_dir: str, processing_output_config: Any) -> None:
        if self.exit_code == 0:
            super()._upload_processing_outputs(data_dir, processing_output_config)
            return
        for path in Path(data_dir).rglob("quarantine.csv"):  # the evidence
            shutil.copy(path, self.job.results)


class NodeProcesses(NodeJob):
    """The container of a local job, as processes: one for each instance, with a loopback address each."""

    meeting: socket.socket | None = None  # keeps the port at which several nodes meet

    def _host_names(self) -> list[str]:
        return loopback_addresses(self.instance_count)

    def _generate_compose_file(
        self,
        command: str,
        additional_volumes: list[Any] | None = None,
        additional_env_vars: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        self.given = without_endpoint(additional_env_vars or {})
        if command == "train" and self.instance_count > 1:
            self.meeting = reserve_port()
        volumes = {
            host: [*self._build_optml_volumes(host, FOLDERS[command]), *(additional_volumes or [])]
            for host in self.hosts
        }
        nodes = [self._node(host, command, seen) for host, seen in volumes.items()]
        self._nodes_file.write_text(json.dumps(nodes), encoding="utf-8")
        return {"services": {host: {"volumes": [one.map for one in seen]} for host, seen in volumes.items()}}

    def _node(self, host: str, command: str, volumes: list[Any]) -> dict[str, Any]:
        base = self._nodes_file.parent / host
        hide_values(base)
        for file in base.rglob("*.json"):
            file.write_text(file.read_text().replace(OPT_ML, str(base)).replace('"eth0"', '"lo"'))
        return {
            "name": f"node {self.hosts.index(host) + 1}",
            "command": self._toolkit() if command == "train" else self._command(base),
            "inherits": self._inherited(),
            "environment": self._environment(base),
            "folder": str(base),
            "links": _links(base, volumes),
        }

    def _toolkit(self) -> list[str]:
        """The training toolkit's `train`; several nodes meet at the job's own port."""
        if self.meeting is None:
            return [sys.executable, "-m", "sagemaker_training.cli.train"]
        return [sys.executable, "-P", str(ON_PORT), str(port_of(self.meeting))]

    def remove(self) -> None:
        """Give up the port of the meeting."""
        if self.meeting is not None:
            self.meeting.close()

    def _command(self, base: Path) -> list[str]:
        """A processing job's command line; the words of a user, who may name /opt/ml, stay as they are."""
        program = [sys.executable if word == "python3" else word for word in self.container_entrypoint or []]
        return [
            str(base) + word.removeprefix(OPT_ML) if word.startswith(PROCESSING) else word
            for word in [*program, *(self.container_arguments or [])]
        ]

    def _inherited(self) -> list[str]:
        """The names of what the nodes get of the supervisor's environment."""
        here = (name for name in os.environ if name in INHERITED or name.startswith(INHERITED_PREFIXES))
        return sorted({*here, *self.given})

    def _environment(self, base: Path) -> dict[str, str]:
        """What is Trapline's own, and no secret: it lies in a file while the job runs."""
        return {
            **({**TORCHRUN, "GLOO_SOCKET_IFNAME": "lo"} if self.instance_count > 1 else {}),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.job.workspace.temporary()),
            "SAGEMAKER_BASE_DIR": str(base),
            "SM_STUDIO_LOCAL_MODE": "True",  # no waiting until host names resolve
            MARKER: self.job.workspace.identity,
        }


def _links(base: Path, volumes: list[Any]) -> dict[str, str]:
    """What stands for mounts: a place below `base` for each place below /opt/ml."""
    places = {str(base) + volume.container_dir.removeprefix(OPT_ML): volume.host_dir for volume in volumes}
    links = {target: here for target, here in places.items() if target != here}
    for target in links:
        with contextlib.suppress(FileNotFoundError):
            Path(target).rmdir()  # local mode makes an empty folder where a container would have its mount
    return links


def loopback_addresses(count: int) -> list[str]:
    """An address for each node, which the toolkit takes for the names of hosts; each job has its own."""
    if count == 1:
        return ["127.0.0.1"]
    network = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}"
    return [f"{network}.{number}" for number in range(1, count + 1)]


def without_endpoint(given: dict[str, str]) -> dict[str, str]:
    """A request's environment without the region's own S3 endpoint: S3 libraries know it better."""
    return {name: value for name, value in given.items() if name != "AWS_ENDPOINT_URL_S3"}


def hide_values(base: Path) -> None:
    """Leave only names of the environment in a processing job's own description, which jobs can read."""
    file = base / "config" / "processingjobconfig.json"
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        content["Environment"] = dict.fromkeys(content.get("Environment") or {}, "")
        file.write_text(json.dumps(content), encoding="utf-8")
