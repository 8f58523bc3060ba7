"""What the machine that builds the image knows of credentials stays out of the image."""

import gzip
import os
import shutil
import subprocess
import tarfile

import pytest

from tests.conftest import ROOT
from tests.docker.conftest import missing

pytestmark = pytest.mark.docker

BASE = os.environ.get("TRAPLINE_BASE", "trapline-base:debian")
PLANTED = ["planted-index-password", "planted-access-key", "planted-session-token"]


def small_checkout(folder):
    """What the image is made of, with one small requirement in the place of all."""
    for name in ("docker", "entry_points", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "docker" / "requirements.txt").write_text(f"six # built anew: {os.urandom(4).hex()}\n")
    (folder / "docker" / "slim.py").write_text("")
    return folder


def test_credentials_of_the_build_are_in_no_layer(docker, tmp_path):
    if docker.attempt("image", "inspect", BASE).returncode != 0:
        missing(f"there is no image {BASE} (docker/base-from-debian.sh makes it)")
    tag = "trapline-test:" + os.urandom(4).hex()
    environment = {
        **os.environ,
        "PIP_EXTRA_INDEX_URL": f"http://user:{PLANTED[0]}@127.0.0.1:9/simple",  # nobody answers there
        "PIP_RETRIES": "0",
        "AWS_ACCESS_KEY_ID": PLANTED[1],
        "AWS_SESSION_TOKEN": PLANTED[2],
    }
    command = [small_checkout(tmp_path / "checkout") / "docker" / "build.sh", "--base", BASE, "--tag", tag]
    try:
        done = subprocess.run([*command, "--torch", "cpu"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(tmp_path / "image.tar", "wb") as archive:  # noqa: PTH123
            subprocess.run([docker.command, "save", tag], stdout=archive, check=True)
        history = docker.run("history", "--no-trunc", tag).stdout
    finally:
        docker.attempt("image", "rm", tag)
    assert "user:****@127.0.0.1:9" in done.stderr  # the index was asked, and pip hides the password
    everything = history + done.stdout + done.stderr
    assert not [word for word in PLANTED if word in everything]
    layers = unpacked(tmp_path / "image.tar")
    assert (ROOT / "docker" / "serve").read_bytes() in layers  # or the search would say little
    assert not [word for word in PLANTED if word.encode() in layers]


def unpacked(archive):
    """All bytes of an image: its layers, which some engines compress, and what describes them."""
    with tarfile.open(archive) as outer:
        parts = [outer.extractfile(member).read() for member in outer if member.isfile()]
    return b"".join(gzip.decompress(part) if part.startswith(b"\x1f\x8b") else part for part in parts)
