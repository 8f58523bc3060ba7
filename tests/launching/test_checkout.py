"""The staged code: complete, clean, and the same for the same sources."""

import subprocess
import sys

import pytest

from tests.conftest import ENTRY_POINTS, ROOT
from trapline import job_contract
from trapline.errors import UsageError
from trapline.launching import checkout
from trapline.launching.checkout import (
    jobs_digest,
    missing_from_aws_image,
    model_code_digest,
    sources,
    stage_code,
)
from trapline.trusted_code import digest_of

ROOMS = {
    "data", "evaluation", "formats", "images", "inference", "models", "preparation", "reports", "scoring",
    "training",
}  # fmt: skip


def copied(folder):
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def test_what_is_shipped_is_one_list_of_the_entry_points_and_the_rooms_that_they_use():
    names = [name for name, _ in sources()]
    print("\n".join(names))
    assert {name for name in names if "/" not in name} == {path.name for path in ENTRY_POINTS.glob("*.py")}
    library = [name.removeprefix("trapline/") for name in names if "/" in name]
    assert all(name.startswith("trapline/") and name.endswith(".py") for name in names if "/" in name)
    assert {name.partition("/")[0] for name in library if "/" in name} == ROOMS
    assert {"config.py", "__init__.py", "images/canonical.py"} <= set(library)


def test_the_image_leaves_out_the_same_rooms():
    lines = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    left_out = {line.rpartition("/")[2] for line in lines if line.startswith("src/common/trapline/")}
    assert left_out == job_contract.NOT_SHIPPED


def test_the_copy_holds_the_sources_and_nothing_else(tmp_path):
    found = copied(stage_code(tmp_path / "code"))
    assert [name for name, _ in found] == [name for name, _ in sources()]


def test_copies_and_the_list_have_one_digest(tmp_path):
    for number in "12":
        assert digest_of(copied(stage_code(tmp_path / number / "code"))) == model_code_digest()


def test_all_that_is_copied_is_in_the_digest_and_no_launcher(tmp_path, monkeypatch):
    code = stage_code(tmp_path / "code")
    monkeypatch.setattr(checkout, "entry_points", lambda: code)
    monkeypatch.setattr(job_contract, "LIBRARY", code / "trapline")
    before = jobs_digest()
    for name in ("train.py", "prepare.py", "trapline/unpacking.py", "trapline/training/loop.py"):
        changed = code / name
        text = changed.read_text()
        changed.write_text(f"{text}\n")
        assert jobs_digest() != before
        changed.write_text(text)
    assert jobs_digest() == before


def test_an_edit_of_a_launcher_changes_no_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(job_contract, "LIBRARY", tmp_path)
    (tmp_path / "config.py").touch()
    before = jobs_digest()
    for room in job_contract.NOT_SHIPPED:
        (tmp_path / room).mkdir()
        (tmp_path / room / "new.py").touch()
    assert jobs_digest() == before


def test_the_copy_runs_without_the_installed_package(tmp_path):
    code = stage_code(tmp_path / "code")
    answer = "import trapline; print(trapline.__file__)"
    done = subprocess.run([sys.executable, "-c", answer], cwd=code, capture_output=True, text=True)
    assert done.stdout.strip() == str(code / "trapline" / "__init__.py")
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_checkout_of_the_script_that_runs_comes_first_and_without_one_it_is_said(tmp_path, monkeypatch):
    (tmp_path / "other" / "entry_points").mkdir(parents=True)
    (tmp_path / "other" / "entry_points" / "train.py").touch()
    script = tmp_path / "other" / "launch" / "mine.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    assert checkout.root() == tmp_path / "other"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "mine.py"))
    assert checkout.root() == ROOT
    monkeypatch.setattr(checkout, "LIBRARY", tmp_path / "site-packages" / "trapline")
    with pytest.raises(UsageError, match="no checkout of Trapline"):
        checkout.entry_points()


def test_what_an_aws_image_lacks_is_pinned_and_torch_is_not_touched(tmp_path):
    lines = missing_from_aws_image()
    assert "albumentations==2.0.8" in lines
    assert all("==" in line for line in lines)
    assert not [line for line in lines if line.startswith("torch")]
    code = stage_code(tmp_path / "code", lines)
    assert (code / "requirements.txt").read_text().splitlines() == lines
