"""What Trapline takes of the SDK's private parts for pipelines, beside `internals`: the same rules hold.

Local mode (v2.257) runs a pipeline's steps one after another. Here they are processes, or containers,
what a training step leaves lies where it would on AWS, and batch transform asks a server of its own.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import sagemaker.local.entities
import sagemaker.local.local_session
import sagemaker.local.pipeline
import urllib3
from sagemaker.local.entities import _LocalPipelineExecution, _LocalTransformJob
from sagemaker.local.image import _Volume
from sagemaker.local.local_session import LocalSagemakerClient as LocalSagemakerClient
from sagemaker.workflow.pipeline_context import PipelineSession

from trapline.errors import TraplineError
from trapline.launching import checkout
from trapline.launching.local.docker_engine import Engine
from trapline.launching.sdk.docker_internals import NodeContainers
from trapline.launching.sdk.internals import (
    OPT_ML,
    JobFailed,
    NodeJob,
    NodeProcesses,
    local_jobs,
    loopback_addresses,
    replaced,
    start_supervisor,
    without_endpoint,
)
from trapline.trusted_code import SCRIPT, serving_script
from trapline.unpacking import unpack

SERVER_STARTS = 300.0  # seconds for a server to load its model
STOP_PATIENCE = 15.0  # seconds for the supervisor to end the server


class DefinitionSession(PipelineSession):
    """A session in which steps are put together; it asks nobody and needs no account."""

    def __init__(self, region: str, client: Any = None, defaults: dict[str, Any] | None = None) -> None:
        """`client`: of boto3, where the pipeline is to be sent. `defaults`: what the SDK's file says."""
        self.sagemaker_config: dict[str, Any] = defaults or {}
        super().__init__(boto_session=boto3.Session(region_name=region), sagemaker_client=client)

    def _initialize(self, boto_session: Any, sagemaker_client: Any, *_: Any, **__: Any) -> None:
        self.boto_session = boto_session
        self._region_name = boto_session.region_name
        self.local_mode = False
        self.sagemaker_client = sagemaker_client

    def expand_role(self, role: Any) -> Any:
        """The role as it is: a parameter, which cannot be looked up."""
        return role

    def default_bucket(self) -> str:
        """A name for what the SDK computes and does not use: code and results have places of their own."""
        return "unused"


@contextlib.contextmanager
def local_steps(engine: Engine | None, watcher: "Watcher", execution: str) -> Iterator[None]:
    """While the block runs, a local pipeline's jobs are processes, or containers where there is an engine.

    `watcher` hears of each step. `execution` becomes the execution's id.
    """

    with (
        local_jobs(step_class(engine)),
        replaced(
            (sagemaker.local.local_session, "_LocalTransformJob", BatchTransform),
            (sagemaker.local.entities, "_LocalPipelineExecution", partial(_Execution, watcher, execution)),
            # What `read_s3_file` gets.
            (
                sagemaker.local.pipeline,
                "parse_s3_url",
                lambda uri: ("/", uri.removeprefix("file://").lstrip("/")),
            ),
        ),
    ):
        yield


class Watcher:
    """Hears of each step: its begin, and its end with the reason of a failure or what it answered."""

    def began(self, step: str) -> None:
        """A step begins."""

    def ended(self, step: str, answer: dict[str, Any]) -> None:
        """A step ended well; `answer` is what Describe says of it."""

    def failed(self, step: str, reason: str) -> None:
        """A step failed."""


class _Execution(_LocalPipelineExecution):
    def __init__(
        self, watcher: Watcher, identity: str, execution_id: str, *arguments: Any, **settings: Any
    ) -> None:
        """`identity` takes the place of `execution_id`, which the SDK draws."""
        del execution_id
        self.watcher = watcher
        super().__init__(identity, *arguments, **settings)

    def mark_step_executing(self, step_name: str) -> None:
        self.watcher.began(step_name)
        super().mark_step_executing(step_name)

    def update_step_properties(self, step_name: str, step_properties: dict[str, Any]) -> None:
        super().update_step_properties(step_name, step_properties)
        if "ErrorMessage" not in step_properties:  # a Fail step is about to say that it failed
            self.watcher.ended(step_name, step_properties)

    def update_step_failure(self, step_name: str, failure_message: str) -> None:
        self.watcher.failed(step_name, failure_message)
        super().update_step_failure(step_name, failure_message)


def step_class(engine: Engine | None) -> type["StepJob"]:
    """What a pipeline's jobs are: processes, or containers where there is an engine."""
    return StepProcesses if engine is None else StepContainers


class StepJob(NodeJob):
    """The container of a pipeline's job: its results lie where they would on AWS, and it may be a server."""

    def retrieve_artifacts(self, compose_data: Any, output_data_config: Any, job_name: str) -> str | None:
        """Model and output lie as on AWS: <output>/<job>/output/{model,output}.tar.gz."""
        return super().retrieve_artifacts(
            compose_data,
            {
                **output_data_config,
                "S3OutputPath": f"{output_data_config['S3OutputPath']}/{job_name}/output",
            },
            job_name,
        )

    def _upload_processing_outputs(self, data_dir: str, processing_output_config: Any) -> None:
        """Results are moved, not copied: a prepared set may be large. What lies there already stays."""
        if self.exit_code != 0:
            super()._upload_processing_outputs(data_dir, processing_output_config)
            return
        for output in processing_output_config["Outputs"]:
            target = Path(output["S3Output"]["S3Uri"].removeprefix("file://"))
            target.parent.mkdir(parents=True, exist_ok=True)
            source = Path(data_dir, "output", output["OutputName"])
            if not target.exists():
                shutil.move(source, target)
                continue
            for item in sorted(source.iterdir()):
                shutil.move(item, target / item.name)

    @contextlib.contextmanager
    def serving(self, archive: str, environment: dict[str, str]) -> Iterator[str]:
        """The address of a server of the model archive at the URI `archive`."""
        self.container_root = self._create_tmp_folder()
        base = self._nodes_file.parent / self.hosts[0]
        (base / "model").mkdir(parents=True)
        with Path(archive.removeprefix("file://")).open("rb") as file:
            unpack(file, "the champion's model.tar.gz", base / "model")
        # An address that no other server has: each run has a loopback address of its own, and a free port.
        host = loopback_addresses(2)[0]
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        self._write_server(base, environment, host, port)
        try:
            with _running(self._compose(), lambda process: self.job.stream(process, [base])) as process:
                _wait_until_ready(process, f"http://{host}:{port}")
                yield f"http://{host}:{port}"
        finally:
            self.remove()

    def _write_server(self, base: Path, environment: dict[str, str], host: str, port: int) -> None:
        """Write down the node that serves base/model at this address."""
        raise NotImplementedError


class StepProcesses(StepJob, NodeProcesses):
    """The container of a pipeline's job, as processes."""

    def _write_server(self, base: Path, environment: dict[str, str], host: str, port: int) -> None:
        """The script is the model's own where the step trusts it, else that of the checkout."""
        self.given = without_endpoint(environment)
        try:
            script = serving_script(base / "model", checkout.entry_points() / SCRIPT, environment)[0]
        except ValueError as error:
            raise JobFailed(str(error)) from None
        node = {
            "name": "server",
            "command": [sys.executable, str(script), "--host", host],
            "inherits": self._inherited(),
            "environment": {
                **self._environment(base),
                "SM_MODEL_DIR": str(base / "model"),
                "SAGEMAKER_BIND_TO_PORT": str(port),
            },
            "folder": str(base),
            "links": {},
        }
        self._nodes_file.write_text(json.dumps([node]), encoding="utf-8")


class StepContainers(StepJob, NodeContainers):
    """The containers of a pipeline's job."""

    def _write_server(self, base: Path, environment: dict[str, str], host: str, port: int) -> None:
        service = self._service(
            self.hosts[0], "serve", [_Volume(str(base / "model"), f"{OPT_ML}/model")], environment
        )
        self._write({self.hosts[0]: {**service, "ports": [f"{host}:{port}:8080"]}})


@contextlib.contextmanager
def _running(
    command: list[str], follow: Callable[["subprocess.Popen[bytes]"], int]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The supervisor of a server, ended with the block whatever happens; its output goes to `follow`."""
    process = start_supervisor(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    thread = threading.Thread(target=follow, args=(process,), daemon=True)
    thread.start()
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        thread.join(STOP_PATIENCE)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + SERVER_STARTS
    with urllib3.PoolManager(retries=False) as http:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise JobFailed(f"the server ended with exit code {process.returncode} before it was ready")
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if http.request("GET", f"{url}/ping", timeout=2.0).status == 200:
                    return
            time.sleep(0.05)
    raise JobFailed(f"the server was not ready after {SERVER_STARTS:.0f} s")


class BatchTransform(_LocalTransformJob):
    """A transform job: a server, and a request for each file of the input; an answer but 200 is an error."""

    def start(self, input_data: Any, output_data: Any, transform_resources: Any, **settings: Any) -> None:
        """Run it to its end. Raises JobFailed naming the file for which there is no answer."""
        self.transform_resources = transform_resources
        self.input_data, self.output_data = input_data, output_data
        self.batch_strategy = settings["BatchStrategy"]
        container = step_class(self.local_session.job.engine)(
            transform_resources["InstanceType"], 1, self.primary_container["Image"], self.local_session
        )
        environment = self._get_container_environment(**settings)
        source = Path(input_data["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("file://"))
        target = Path(output_data["S3OutputPath"].removeprefix("file://"))
        headers = {"Content-Type": input_data["ContentType"], "Accept": output_data["Accept"]}
        files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else []
        target.mkdir(parents=True)
        try:
            with container.serving(self.primary_container["ModelDataUrl"], environment) as url:
                _ask_for_all(url, headers, files, target, int(settings["MaxConcurrentTransforms"]))
        except KeyboardInterrupt:
            raise TraplineError("interrupted") from None  # the SDK would swallow a KeyboardInterrupt
        self.state = self._COMPLETED


def _ask_for_all(url: str, headers: dict[str, str], files: list[Path], target: Path, at_once: int) -> None:
    with urllib3.PoolManager(maxsize=at_once, retries=False) as http:

        def ask(path: Path) -> None:
            answer = http.request(
                "POST", f"{url}/invocations", body=path.read_bytes(), headers=headers, timeout=600.0
            )
            if answer.status != 200:
                said = " ".join(answer.data.decode(errors="replace").split())[:300]
                raise JobFailed(f"{path.name}: the model answered {answer.status}: {said}")
            (target / f"{path.name}.out").write_bytes(answer.data)

        pool = ThreadPoolExecutor(at_once)
        try:
            list(pool.map(ask, files))  # raises what the first of them does that fails
        except urllib3.exceptions.HTTPError as error:
            raise JobFailed(f"the server does not answer ({error})") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what is still asked ends with the server
