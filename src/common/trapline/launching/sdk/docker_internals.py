"""What Trapline takes of the SDK's private parts for containers, beside `internals`: the same rules hold.

Local mode (v2.257) describes the containers of a job for Docker Compose, which makes them here and does not
start them: `local.supervisor` does, with a client for each (`docker start --attach`). So output, exit
codes and signals take the same way as those of processes, no container is stopped because another has ended
well, and containers and network are removed at the end whatever happens. Credentials, and all else
that comes from an environment, are only in that of Compose, never in a file of ours (the engine keeps what a
container is given in its own files, root's, until the container is removed). Only jobs that name something in
S3 get credentials.
"""

import ipaddress
import json
import os
import random
import string
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trapline.errors import TraplineError
from trapline.launching.local.docker_engine import LABEL, Engine, ask, remove_what_is_left
from trapline.launching.local.workspace import MARKER
from trapline.launching.sdk.internals import (
    FOLDERS,
    TORCHRUN,
    JobFailed,
    NodeJob,
    NodeProcesses,
    hide_values,
    mapped,
    without_endpoint,
)

NETWORK = "sagemaker-local"  # what the SDK calls it; Compose puts the project's name before it
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
S3_SETTINGS = (
    *("AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    "AWS_REGION",
)
PROXIES = ("all_proxy", "http_proxy", "https_proxy", "no_proxy")
TORCH_CACHE = "/cache/torch"  # in a container: torchvision's downloads, where a job gets the user's
ANONYMOUS = {"HOME": "/tmp", "USER": "user", "LOGNAME": "user"}  # a container knows its user by number alone


class NodeContainers(NodeJob):
    """The containers of a local job: one for each instance, in a network of their own."""

    def _host_names(self) -> list[str]:
        run = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        return [f"algo-{number}-{run}" for number in range(1, self.instance_count + 1)]

    @property
    def _engine(self) -> Engine:
        assert self.job.engine is not None
        return self.job.engine

    @property
    def _compose_file(self) -> Path:
        return self._nodes_file.with_name("compose.json")

    def _generate_compose_file(
        self,
        command: str,
        additional_volumes: list[Any] | None = None,
        additional_env_vars: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        services = {
            host: self._service(host, command, additional_volumes or [], additional_env_vars or {})
            for host in self.hosts
        }
        self._write(services)
        return {"services": services}

    def _service(
        self, host: str, command: str, volumes: list[Any], environment: dict[str, str]
    ) -> dict[str, Any]:
        """One container, as the SDK describes it, and what it leaves out."""
        self.given = without_endpoint(environment)
        described = self._create_docker_host(host, [], FOLDERS.get(command, set()), command, volumes)
        for volume in described["volumes"]:
            Path(volume.split(":")[0]).mkdir(parents=True, exist_ok=True)  # Docker's own would be root's
        wants_s3 = self._names_s3(host)
        hide_values(self._nodes_file.parent / host)
        for name in ("stdin_open", "tty"):  # without a terminal lines end as they were written
            del described[name]
        if wants_s3 and _is_here(_endpoint()):
            if len(self.hosts) > 1:
                raise JobFailed(f"{_endpoint()}: an S3 endpoint of this machine serves one instance only")
            del described["networks"]
            described["network_mode"] = "host"
        return {
            **described,
            **({"user": self._engine.user} if self._engine.user else {}),
            "environment": self._environment(wants_s3=wants_s3),
            "labels": {LABEL: self.job.workspace.identity},
        }

    def _names_s3(self, host: str) -> bool:
        """Whether a job's own settings name something in S3, so that it needs credentials."""
        return any(
            "s3://" in path.read_text(encoding="utf-8")
            for pattern in ("config/*.json", "input/config/*.json")
            for path in (self._nodes_file.parent / host).glob(pattern)
        )

    def _environment(self, *, wants_s3: bool) -> list[str]:
        """NAME=VALUE for what is Trapline's own, names alone for the rest: Compose knows their values."""
        passed_on = [
            name
            for name, value in os.environ.items()
            if name.lower() in PROXIES
            or name.startswith(("MKL_", "OMP_"))
            or (wants_s3 and name in S3_SETTINGS and value)
        ]
        sees_cache = any(there == TORCH_CACHE for _, there in self.job.mounts)
        values = {
            **ANONYMOUS,
            "PYTHONUNBUFFERED": "1",
            **({**TORCHRUN, "GLOO_SOCKET_IFNAME": "eth0"} if len(self.hosts) > 1 else {}),
            **({"TORCH_HOME": TORCH_CACHE} if sees_cache else {}),
        }
        names = dict.fromkeys([*passed_on, *self.given, *(self._secrets() if wants_s3 else [])])
        return [f"{name}={value}" for name, value in values.items() if name not in self.given] + list(names)

    def _secrets(self) -> dict[str, str]:
        """The credentials at hand, from wherever boto3 has them."""
        credentials = self.sagemaker_session.boto_session.get_credentials()
        if credentials is None:
            return {}
        frozen = credentials.get_frozen_credentials()
        values = zip(SECRETS, (frozen.access_key, frozen.secret_key, frozen.token), strict=True)
        return {name: value for name, value in values if value}

    def _write(self, services: dict[str, Any]) -> None:
        """Write what Compose and the supervisor read."""
        identity = self.job.workspace.identity
        further = [f"{here}:{there}" for here, there in self.job.mounts]
        content: dict[str, Any] = {
            "services": {
                host: {**service, "volumes": [_mount(text) for text in [*service["volumes"], *further]]}
                for host, service in services.items()
            }
        }
        if any("networks" in service for service in services.values()):
            content["networks"] = {NETWORK: {"labels": {LABEL: identity}}}
        nodes = [
            {
                "name": f"node {number}",
                "command": [self._engine.docker, "start", "--attach", services[host]["container_name"]],
                "inherits": [name for name in os.environ if name not in SECRETS],  # of the client
                "environment": {MARKER: identity},
                "folder": str(self._nodes_file.parent),
                "links": {},
            }
            for number, host in enumerate(self.hosts, 1)
        ]
        # Compose would put variables in the place of what follows a `$`.
        escaped = mapped(content, lambda leaf: leaf.replace("$", "$$") if isinstance(leaf, str) else leaf)
        for path, described in ((self._compose_file, escaped), (self._nodes_file, nodes)):
            path.touch(mode=0o600)
            path.write_text(json.dumps(described), encoding="utf-8")

    def _compose(self, detached: bool = False) -> list[str]:
        """Make the containers; the command that starts them and follows them to their end."""
        self.job.workspace.will_use_docker(self._engine.docker)
        identity = self.job.workspace.identity
        try:
            secrets = self._secrets() if any(map(self._names_s3, self.hosts)) else {}
            done = ask(
                [
                    *self._engine.compose,
                    *("--project-name", f"trapline-{identity}"),
                    *("--file", str(self._compose_file)),
                    *("up", "--no-start"),
                ],
                120.0,  # seconds
                **{**self.given, **secrets, MARKER: identity},
            )
            if done.returncode:
                said = " ".join((done.stderr or done.stdout).split())[-500:]
                raise JobFailed(f"the container cannot be made: {said}")
        except BaseException as error:
            self.remove()
            if isinstance(error, KeyboardInterrupt):
                raise TraplineError("interrupted") from None  # the SDK would swallow a KeyboardInterrupt
            raise
        return super()._compose(detached)

    def remove(self) -> None:
        """Remove the containers and their network."""
        self._compose_file.unlink(missing_ok=True)
        if remove_what_is_left(self._engine.docker, self.job.workspace.identity):
            self.job.workspace.has_used_docker()


def node_class(engine: Engine | None) -> type[NodeJob]:
    """What takes the place of the SDK's container: processes, or containers where there is an engine."""
    return NodeProcesses if engine is None else NodeContainers


def _mount(volume: str) -> dict[str, Any]:
    """A volume of the SDK's in the long form, in which a colon is one and a missing folder an error."""
    here, there = volume.removesuffix(":z").rsplit(":", 1)
    return {
        "type": "bind",
        "source": here,
        "target": there,
        **({"bind": {"selinux": "z"}} if volume.endswith(":z") else {}),
    }


def _endpoint() -> str:
    """The S3 endpoint of the environment, or nothing where it is AWS's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _is_here(endpoint: str) -> bool:
    """Whether an address is this machine's own, which for a container is another."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
