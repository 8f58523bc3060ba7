"""The digest of code and versions: what may be reused, and what made it."""

import tomllib
from importlib import metadata

import pytest

from tests.conftest import ROOT
from trapline import job_contract
from trapline.job_contract import RUN_BY, code_and_versions

WITHOUT_EFFECT = {"boto3", "joblib", "psutil", "tqdm"}  # they measure, copy bytes, and show progress


@pytest.fixture
def code(tmp_path):
    names = ("train.py", "trapline/unpacking.py")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    return [(name, tmp_path / name) for name in names]


def other_version(monkeypatch, name, version="0.0.1"):
    original = metadata.version
    monkeypatch.setattr(metadata, "version", lambda asked: version if asked == name else original(asked))


def test_the_same_code_and_versions_have_the_same_digest(code):
    assert code_and_versions(code) == code_and_versions(code)


@pytest.mark.parametrize("name", ["train.py", "trapline/unpacking.py"])
def test_any_change_of_the_code_makes_another(code, tmp_path, name):
    before = code_and_versions(code)
    (tmp_path / name).write_text("2")
    assert code_and_versions(code) != before


@pytest.mark.parametrize(
    "name", ["pillow", "numpy", "torch", "albumentations", "opencv-python-headless", "simplejpeg"]
)
def test_another_version_of_what_runs_it_makes_another(code, monkeypatch, name):
    before = code_and_versions(code)
    other_version(monkeypatch, name)
    assert code_and_versions(code) != before


def test_another_python_makes_another(code, monkeypatch):
    before = code_and_versions(code)
    monkeypatch.setattr(job_contract.platform, "python_version", lambda: "3.99.0")
    assert code_and_versions(code) != before


def test_a_package_that_was_installed_or_removed_makes_another(code, monkeypatch):
    before = code_and_versions(code)
    original = metadata.version

    def removed(name):
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(metadata, "version", removed)
    assert code_and_versions(code) != before


def test_in_a_container_the_image_counts_and_not_what_is_installed_here(code, monkeypatch):
    before = code_and_versions(code, ["sha256:1"])
    other_version(monkeypatch, "pillow")
    assert code_and_versions(code, ["sha256:1"]) == before
    assert code_and_versions(code, ["sha256:2"]) != before
    assert code_and_versions(code) != before


def test_all_that_the_package_needs_counts_but_for_what_has_no_effect_on_results():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {requirement.split(">")[0].split("=")[0] for requirement in project["dependencies"]}
    assert declared - WITHOUT_EFFECT <= set(RUN_BY)
    assert not WITHOUT_EFFECT & set(RUN_BY)
