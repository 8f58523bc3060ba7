"""The image's scripts without a Docker engine: `docker` and `aws` are stand-ins that note their calls."""

import ast
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trapline.launching.checkout import missing_from_aws_image, pins

DOCKER = ROOT / "docker"
WITH_DOCKER = pytest.mark.skipif(not Path("/usr/bin/docker").exists(), reason="Debian's docker.io is missing")
ADDRESS = "123456789012.dkr.ecr.eu-west-1.example.com/trapline"
PASSWORD = "planted-ecr-password"
FAKE_DOCKER = """#!/bin/sh
echo "docker $*" >> "$CALLS"
case "$1" in
--version) echo "Docker version 20.10.24, build x" ;;
version) [ -z "$NO_ENGINE" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }; echo 20.10 ;;
info) [ -z "$NO_ENGINE" ] || [ -e "$CALLS.up" ] ;;
import) cat > /dev/null ;;
context) echo unix:///run/engine.sock ;;
build) for word; do case "$word" in id=pip,src=*) file="${word#id=pip,src=}"; cat "$file" > "$CALLS.pip"
       stat -c %a "$(dirname "$file")" >> "$CALLS.pip" ;; esac; done ;;
image) case "$*" in *-build*) exit 1 ;; *) echo 42 ;; esac ;;
login) cat > "$CALLS.password"; echo "$DOCKER_CONFIG $DOCKER_HOST" > "$CALLS.login" ;;
esac
"""
FAKE_AWS = f"""#!/bin/sh
echo "aws $*" >> "$CALLS"
case "$2" in
describe-repositories) [ -z "$DENIED" ] || {{ echo "An error occurred (AccessDenied)" >&2; exit 254; }}
    [ -f "$CALLS.made" ] || {{ echo "An error (RepositoryNotFoundException) occurred" >&2; exit 254; }}
    echo {ADDRESS} ;;
create-repository) touch "$CALLS.made"; echo {ADDRESS} ;;
get-login-password) echo {PASSWORD} ;;
esac
"""


@pytest.fixture
def tools(tmp_path):
    """A PATH on which `docker` and `aws` are stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("docker", FAKE_DOCKER), ("aws", FAKE_AWS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def build(tmp_path, tools):
    """Run build.sh: (*arguments, **environment) -> CompletedProcess; `.calls` are those of the stand-ins."""

    def run(*arguments, script="build.sh", path=f"{tools}:/usr/bin:/bin", **environment):
        calls = tmp_path / "calls"
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "DOCKER", "AWS_"))
        }
        done = subprocess.run(
            ["/bin/bash", DOCKER / script, *arguments],
            env=inherited | {"PATH": path, "CALLS": str(calls), "TMPDIR": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
        )
        done.calls = calls.read_text().splitlines() if calls.exists() else []
        return done

    return run


@pytest.fixture
def engine(build, tools):
    """Run test-engine.sh as root where no engine runs: (dockerd's script) -> CompletedProcess."""

    def run(dockerd, **environment):
        stand_ins = {name: "exit 1" for name in ("docker-compose", "debootstrap", "iptables", "apt-get")}
        for name, text in {**stand_ins, "dockerd": dockerd, "id": "echo 0"}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        return build(script="test-engine.sh", **{"NO_ENGINE": "yes"} | environment)

    return run


def starting(calls, words):
    return [line for line in calls if line.startswith(words)]


def test_requirements_are_the_versions_of_the_constraints_and_all_that_the_package_declares():
    pinned = pins((ROOT / "constraints.txt").read_text())
    lines = [line for line in (DOCKER / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert lines == sorted(lines)
    wanted = pins("\n".join(lines))
    assert wanted == {name: pinned[name] for name in wanted}
    declared = {line.split("==")[0] for line in missing_from_aws_image()}
    own = {"torch", "torchvision", "boto3", "sagemaker-training", "sagemaker-pytorch-training"}
    assert set(wanted) == declared | own


def test_no_requirements_file_lies_where_the_toolkit_would_install_it():
    assert not list((ROOT / "entry_points").rglob("requirements*.txt"))


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_shell_scripts_have_no_finding_of_shellcheck():
    scripts = [*DOCKER.glob("*.sh"), DOCKER / "serve"]
    done = subprocess.run(["shellcheck", "-x", *scripts], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["build.sh", "base-from-debian.sh", "test-engine.sh"])
def test_help_says_what_a_script_does_and_a_wrong_word_ends_it_with_2(build, script):
    helped = build("--help", script=script, path="/usr/bin:/bin")
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"usage: docker/{script}")
    wrong = build("--tagg", script=script)
    assert wrong.returncode == 2
    assert "--tagg: no such option; see --help" in wrong.stderr
    assert not wrong.calls


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tag"], "--tag needs a value; see --help"),
        (["--torch", "rocm"], "--torch rocm: must be cpu or cuda"),
    ],
)
def test_a_wrong_argument_is_named(build, arguments, message):
    done = build(*arguments)
    assert (done.returncode, done.stderr) == (2, f"build.sh: {message}\n")


def test_without_docker_it_says_what_to_install(build, tmp_path):
    (tmp_path / "few").mkdir()
    for name in ("dirname", "sed", "bash"):
        (tmp_path / "few" / name).symlink_to(shutil.which(name))
    done = build("--torch", "cpu", path=str(tmp_path / "few"))
    assert done.returncode == 1
    assert done.stderr.startswith("build.sh: docker is not installed: install it")


def test_without_an_engine_it_says_how_to_start_one(build):
    done = build("--torch", "cpu", NO_ENGINE="yes")
    assert done.returncode == 1
    assert "no Docker engine answers: Cannot connect to the Docker daemon; start one" in done.stderr
    assert not starting(done.calls, "docker build")


def test_a_docker_that_cannot_build_is_passed_over_for_one_that_can(build, tools, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "docker").write_text(
        '#!/bin/sh\ncase $1 in --version) echo "Docker version 28.2.2, build y" ;; *) exit 1 ;; esac\n'
    )
    (other / "docker").chmod(0o755)
    done = build("--torch", "cpu", path=f"{other}:{tools}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert starting(done.calls, "docker build")


def test_an_engine_that_answers_is_left_as_it_is(engine):
    done = engine("exit 1", NO_ENGINE="")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@WITH_DOCKER
def test_an_engine_that_it_started_is_named_by_its_process(engine):
    done = engine('touch "$CALLS.up"; exec sleep 60')
    assert done.returncode == 0, done.stderr
    os.kill(int(done.stdout), signal.SIGTERM)


@WITH_DOCKER
def test_where_no_engine_can_be_started_it_says_why_with_exit_code_3(engine):
    done = engine("echo failed to mount overlay >&2; exit 1")
    assert done.returncode == 3
    assert done.stderr.endswith("no Docker engine: dockerd does not run here (failed to mount overlay)\n")


def test_the_build_gets_base_torch_version_and_revision(build):
    done = build("--base", "somewhere/python:3.12", "--torch", "cuda", "--tag", "mine:1", REVISION="abc")
    assert done.returncode == 0, done.stderr
    (call,) = starting(done.calls, "docker build ")
    for words in (
        "--tag mine:1",
        "--build-arg BASE_IMAGE=somewhere/python:3.12",
        "--build-arg BUILD_IMAGE=somewhere/python:3.12",
        "--build-arg TORCH=cuda",
        "--build-arg REVISION=abc",
    ):
        assert words in call
    assert re.search(r"--build-arg VERSION=\d+\.\d+", call)
    assert "mine:1 (cuda, version " in done.stdout
    assert not starting(done.calls, "aws")


def test_pips_index_and_its_password_reach_the_build_as_a_secret_that_is_then_removed(build, tmp_path):
    index = "https://user:planted-index-password@index.example.com/simple"
    done = build(
        "--torch", "cpu", PIP_INDEX_URL=index, PIP_EXTRA_INDEX_URL="file:///local https://b.example/x"
    )
    assert done.returncode == 0, done.stderr
    *conf, mode = (tmp_path / "calls.pip").read_text().splitlines()
    assert f"index-url = {index}" in conf
    assert "extra-index-url = https://b.example/x" in conf
    assert mode == "700"
    assert "planted" not in "".join(done.calls) + done.stdout + done.stderr
    assert not list(tmp_path.glob("tmp.*"))


def test_push_logs_in_makes_the_repository_and_pushes_under_the_tag(build, tmp_path):
    done = build("--torch", "cpu", "--tag", "mine:7", "--push", "trapline", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in starting(done.calls, "aws")] == [
        "describe-repositories",
        "create-repository",
        "get-login-password",
    ]
    registry = ADDRESS.split("/")[0]
    after_build = done.calls[done.calls.index(starting(done.calls, "docker build")[0]) :]
    assert starting(after_build, "docker login") == [
        f"docker login --username AWS --password-stdin {registry}"
    ]
    assert after_build[-2:] == [f"docker tag mine:7 {ADDRESS}:7", f"docker push {ADDRESS}:7"]
    assert f"--image-uri {ADDRESS}:7" in done.stdout


def test_the_registrys_password_is_neither_shown_nor_kept(build, tmp_path):
    done = build("--torch", "cpu", "--push", "trapline", HOME=str(tmp_path))
    assert (tmp_path / "calls.password").read_text().strip() == PASSWORD  # it went through a pipe
    assert PASSWORD not in "".join(done.calls) + done.stdout + done.stderr
    folder, host = (tmp_path / "calls.login").read_text().split()
    assert not os.path.exists(folder)  # noqa: PTH110
    assert host == "unix:///run/engine.sock"
    assert not (tmp_path / ".docker").exists()


def test_a_repository_that_is_there_is_used_and_a_refusal_is_shown(build, tmp_path):
    (tmp_path / "calls.made").touch()
    done = build("--torch", "cpu", "--push", "trapline")
    assert done.returncode == 0, done.stderr
    assert not starting(done.calls, "aws ecr create-repository")
    refused = build("--torch", "cpu", "--push", "trapline", DENIED="yes")
    assert refused.returncode == 1
    assert "ECR does not answer: An error occurred (AccessDenied)" in refused.stderr
    assert starting(refused.calls, "docker push") == starting(done.calls, "docker push")


def test_push_without_the_aws_command_says_so_before_the_build(build, tools):
    (tools / "aws").unlink()
    done = build("--torch", "cpu", "--push", "trapline")
    assert done.returncode == 1
    assert "--push needs the aws command" in done.stderr
    assert not starting(done.calls, "docker build")


def test_pips_settings_of_the_environment_win_and_none_name_files_of_this_machine():
    specification = importlib.util.spec_from_file_location("pip_settings", DOCKER / "pip_settings.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    listed = (
        ":env:.index-url='https://a.example/simple'\n:env:.default-timeout='9'\nglobal.index-url='https://b'\n"
        "global.find-links='/opt/wheels'\nglobal.extra-index-url='file:///x /y'\nglobal.cert='/z'\n"
    )
    assert module.settings(listed) == {"index-url": ["https://a.example/simple"], "timeout": ["9"]}


# debootstrap's last words are suite and folder, or suite, folder and mirror.
DEBOOTSTRAP = """echo "debootstrap $*" >> "$CALLS"
for word; do case "$word" in */root) root="$word" ;; esac; done
mkdir -p "$root/etc/apt/trusted.gpg.d" "$root/var/log/apt"
echo "deb mirror://a/debian/ bookworm main" > "$root/etc/apt/sources.list" """
CHROOT = """root="$1"; shift
echo "chroot $*" >> "$CALLS"
sed 's/^/source: /' "$root/etc/apt/sources.list" >> "$CALLS"
case "$*" in *update) exit "${UPDATE:-0}" ;; esac"""


@pytest.fixture
def base(build, tools, tmp_path):
    """Run base-from-debian.sh with stand-ins and a keyring: (*arguments, **environment) -> as `build`."""
    (tmp_path / "keys.gpg").write_bytes(b"keys")

    def run(*arguments, keyring=tmp_path / "keys.gpg", **environment):
        for name, text in {"debootstrap": DEBOOTSTRAP, "chroot": CHROOT, "gpgv": "", "id": "echo 0"}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        (tools / "docker").write_text(FAKE_DOCKER.replace("*-build*) exit 1 ;;", ""))  # all images are there
        words = ["--force", "--keyring", keyring, *arguments]
        return build(*words, script="base-from-debian.sh", **environment)

    return run


def test_without_keys_no_package_is_taken(base, tmp_path):
    (tmp_path / "empty.gpg").touch()
    for keyring in (tmp_path / "none.gpg", tmp_path / "empty.gpg"):
        done = base(keyring=keyring)
        assert done.returncode == 1
        assert (
            "no such keyring, and nothing is taken unverified: apt-get install debian-archive" in done.stderr
        )
        assert not starting(done.calls, "debootstrap")


def test_packages_are_verified_and_have_their_security_updates_before_an_image_is_made(base, tmp_path):
    done = base()
    assert done.returncode == 0, done.stderr
    (made,) = starting(done.calls, "debootstrap")
    assert f"--keyring={tmp_path}/keys.gpg --force-check-gpg bookworm" in made
    assert "source: deb mirror://a/debian-security bookworm-security main" in done.calls
    known = {"update", "dist-upgrade", "install", "import"}
    calls = [line.split() for line in done.calls if line.startswith(("chroot", "docker import"))]
    steps = [next(word for word in words if word in known) for words in calls]
    assert steps == ["update", "dist-upgrade", "import", "install", "import"]
    for step in starting(done.calls, "chroot"):
        assert "-o Acquire::AllowInsecureRepositories=false" in step


@pytest.mark.parametrize(
    ("words", "sources"),
    [(["--security", "mirror://b/updates"], ["deb mirror://b/updates bookworm-security main"]),
     (["--security", "none"], [])],
)  # fmt: skip
def test_where_security_updates_come_from_can_be_said(base, words, sources):
    done = base(*words)
    assert done.returncode == 0, done.stderr
    found = {line.removeprefix("source: ") for line in starting(done.calls, "source:")}
    assert found == {"deb mirror://a/debian/ bookworm main", *sources}


def test_where_updates_cannot_be_had_no_image_is_made(base):
    done = base(UPDATE="100")
    assert done.returncode == 1
    assert done.stderr.endswith("where there are no security updates: --security none\n")
    assert not starting(done.calls, "docker import")


def test_nothing_in_the_image_folder_names_a_host_or_carries_a_password():
    for path in DOCKER.iterdir():
        if path.is_file():
            assert not re.search(r"https?://|[\w.]+\.(com|org|io)/\w", path.read_text()), path.name


def test_the_programs_of_the_image_can_be_executed_and_python_reads_them():
    for name in ("build.sh", "base-from-debian.sh", "test-engine.sh"):
        assert stat.S_IMODE((DOCKER / name).stat().st_mode) & 0o111
    for name in ("train", "slim.py", "pip_settings.py"):
        ast.parse((DOCKER / name).read_text(), name)
    assert (DOCKER / "train").read_text().startswith("#!/opt/venv/bin/python3")
