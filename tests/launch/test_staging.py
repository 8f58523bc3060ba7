"""The staged code: complete, clean, and the same for the same sources."""

import subprocess
import sys

from common.storage import folder_digest
from launch.aws.requirements import missing_from_aws_image
from launch.staging import COMMON, stage_code


def test_the_copy_holds_the_sources_and_nothing_else(tmp_path):
    code = stage_code(tmp_path / "code")
    files = {str(path.relative_to(code)) for path in code.rglob("*") if path.is_file()}
    assert {"train.py", "prepare.py", "common/__init__.py", "common/data/canonical.py"} <= files
    assert all(name.endswith(".py") for name in files)
    assert len([name for name in files if name.startswith("common/")]) == len(
        [path for path in COMMON.rglob("*.py") if "__pycache__" not in path.parts]
    )


def test_two_copies_have_the_same_digest(tmp_path):
    one, other = stage_code(tmp_path / "1" / "code"), stage_code(tmp_path / "2" / "code")
    assert folder_digest([one]) == folder_digest([other])


def test_the_copy_runs_without_the_installed_package(tmp_path):
    code = stage_code(tmp_path / "code")
    answer = "import common; print(common.__file__)"
    done = subprocess.run([sys.executable, "-c", answer], cwd=code, capture_output=True, text=True)
    assert done.stdout.strip() == str(code / "common" / "__init__.py")
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_an_aws_image_lacks_is_pinned_and_torch_is_not_touched(tmp_path):
    lines = missing_from_aws_image()
    assert "albumentations==2.0.8" in lines
    assert all("==" in line for line in lines)
    assert not [line for line in lines if line.startswith("torch")]
    code = stage_code(tmp_path / "code", lines)
    assert (code / "requirements.txt").read_text().splitlines() == lines
