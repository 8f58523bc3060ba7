"""A machine that has never seen Docker, without one: `apt-get`, `dockerd` and `docker` are stand-ins.

PATH has nothing but them and the tools that the scripts call, so that no engine of this machine is touched.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKER = ROOT / "docker"
USED = ("awk", "bash", "cat", "chmod", "cp", "dirname", "git", "id", "mktemp", "nohup", "rm", "sed", "setsid",
        "sh", "sleep", "tail", "tar", "touch")  # fmt: skip
# Another docker, as some machines have: it answers, and cannot build.
OTHER_DOCKER = 'case "$1" in --version) echo "Docker version 28.2.2, build y" ;; *) exit 1 ;; esac'
OWN_DOCKER = """case "$1" in
--version) echo "Docker version 20.10.24, build x" ;;
info) [ -e "$STATE/up" ] ;;
esac"""
DOCKERD = 'touch "$STATE/up"; exec sleep 3'  # not longer, should nobody see it
APT = 'case "$*" in *install*) cp "$STATE"/packages/* "$STATE/bin/" ;; esac'


def write(folder, **scripts):
    """Executable scripts by name; `_` stands for a hyphen."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    """A new machine: other/docker stands first on PATH, bin/ gets what apt-get installs."""
    write(tmp_path / "other", docker=OTHER_DOCKER)
    write(tmp_path / "packages", docker=OWN_DOCKER, dockerd=DOCKERD, docker_compose="", iptables="")
    write(tmp_path / "bin", apt_get=APT, debootstrap="", id="echo 0")
    for name in USED:
        if not (tmp_path / "bin" / name).exists():
            (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def run(machine, *command, **environment):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120,
        env={"PATH": f"{machine}/other:{machine}/bin", "STATE": str(machine), "TMPDIR": str(machine),
             "HOME": str(machine)} | environment,
    )  # fmt: skip


# --- docker/test-engine.sh ----------------------------------------------------------------------------------


def test_a_docker_that_was_just_installed_is_seen_behind_another_that_stands_first(machine):
    done = run(machine, "bash", DOCKER / "test-engine.sh")
    assert done.returncode == 0, done.stderr
    os.kill(int(done.stdout), signal.SIGTERM)


@pytest.mark.slow
def test_an_engine_that_answers_to_no_docker_on_path_is_not_said_to_be_down(machine):
    for script in (DOCKER / "test-engine.sh", DOCKER / "engine.sh"):
        text = script.read_text().replace("PATIENCE=60", "PATIENCE=1")
        (machine / script.name).write_text(text)
    write(machine / "packages", docker=OTHER_DOCKER)
    done = run(machine, "bash", machine / "test-engine.sh")
    assert done.returncode == 3
    assert "dockerd runs, but no docker on PATH that can build got its answer in 1 s" in done.stderr


# --- what it means that the tests were left out -------------------------------------------------------------


def left_out(machine, path=None):
    script = f". {DOCKER}/engine.sh; report_left_out 'dockerd does not run here'"
    return run(machine, "bash", "-c", script, **({"PATH": path} if path else {}))


def test_as_root_on_debian_left_out_tests_are_a_failure_with_the_reason(machine):
    done = left_out(machine)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Docker tests: FAILED" in done.stderr
    assert "dockerd does not run here" in done.stderr


def test_without_root_they_are_skipped_with_the_reason(machine):
    write(machine / "bin", id="echo 1000")
    done = left_out(machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Docker tests: SKIPPED: dockerd does not run here (only root can start one)\n"


def test_on_another_system_they_are_skipped_with_the_reason(machine):
    (machine / "bin" / "apt-get").unlink()
    done = left_out(machine)
    assert done.returncode == 0, done.stderr
    assert "SKIPPED: dockerd does not run here (this is no Debian" in done.stdout


# --- .ci/run ------------------------------------------------------------------------------------------------

README = "## Tests\n\n```bash\necho the tests of the README ran && touch .pytest_cache\n```\n"


@pytest.fixture
def project(machine):
    """A repository with the real .ci/run, whose tests and scripts are stand-ins."""
    folder = machine / "project"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    write(folder / "docker", **{"test_engine.sh": "", "base_from_debian.sh": "", "build.sh": "echo built"})
    shutil.copy(DOCKER / "engine.sh", folder / "docker")
    write(folder / ".venv" / "bin", ruff="", mypy="", pytest='echo "pytest $* $TRAPLINE_DOCKER"')
    (folder / "README.md").write_text(README)
    return folder


def ci(machine, project):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-f", "."], [*identity, "commit", "-qm", "x"]):
        done = run(machine, "git", "-C", project, *words)
        assert done.returncode == 0, done.stderr
    return run(machine, "bash", project / ".ci" / "run")


def no_engine(project):
    write(project / "docker", **{"test_engine.sh": "echo no Docker engine: no memory >&2; exit 3"})


def no_base(project):
    write(project / "docker", **{"base_from_debian.sh": "echo no mirror answers; exit 1"})


@pytest.mark.slow
def test_with_an_engine_and_an_image_the_docker_tests_run(machine, project):
    done = ci(machine, project)
    assert done.returncode == 0, done.stderr
    assert "the tests of the README ran" in done.stdout
    assert "pytest -m docker required" in done.stdout


def test_where_a_docker_test_fails_the_run_fails_and_shows_it_after_the_other_tests(machine, project):
    write(project / ".venv" / "bin", pytest="echo 1 failed; exit 1")
    done = ci(machine, project)
    assert done.returncode == 1
    assert "the tests of the README ran" in done.stdout
    assert done.stderr.splitlines()[-1] == "1 failed"


def test_where_the_image_cannot_be_built_the_run_fails_and_shows_why(machine, project):
    write(project / "docker", **{"build.sh": "echo no space left; exit 1"})
    done = ci(machine, project)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "no space left"
    assert "-m docker" not in done.stdout


@pytest.mark.slow
def test_where_another_test_fails_what_runs_beside_it_is_ended(machine, project):
    write(project / "docker", **{"build.sh": f"echo $$ > {machine}/builds; exec sleep 100"})
    (project / "README.md").write_text(
        f"## Tests\n\n```bash\nuntil [ -s {machine}/builds ]; do sleep 0.1; done; false\n```\n"
    )
    done = ci(machine, project)
    assert done.returncode == 1
    assert not Path("/proc", (machine / "builds").read_text().strip()).exists()


@pytest.mark.parametrize(("harm", "reason"), [(no_engine, "no memory"), (no_base, "no mirror answers")])
def test_where_an_engine_could_have_run_but_did_not_the_run_fails_after_the_other_tests(
    machine, project, harm, reason
):
    harm(project)
    done = ci(machine, project)
    assert done.returncode == 1
    assert "the tests of the README ran" in done.stdout
    assert "-m docker" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("Docker tests: FAILED")
    assert reason in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("harm", "reason"), [(no_engine, "no memory"), (no_base, "no mirror answers")])
def test_where_none_can_run_they_are_skipped_and_the_run_passes(machine, project, harm, reason):
    harm(project)
    write(machine / "bin", id="echo 1000")
    done = ci(machine, project)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Docker tests: SKIPPED")
    assert reason in last
    assert "only root can start one" in last
