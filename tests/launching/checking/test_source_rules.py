"""The source folder: nothing is missing, and nothing is in it that does not belong."""

from importlib import metadata

import pytest

from trapline.launching.checking.findings import PATTERNS, redacted, secrets_in
from trapline.launching.checking.soundness import BROUGHT, IMPORTED_AS, LARGEST, check_source
from trapline.launching.checkout import missing_from_aws_image, stage_code

# In pieces, so that nobody takes them for real ones.
SECRETS = {
    "an AWS access key id": "ASIA" + "Q3EGTC5YZLKMJ2WX",
    "an AWS secret key": "aws_secret_access_key = " + "'wJalrXUtnFEMI/K7MDENG/bPx" + "RfiCYQ9uTzK3bDa1b'",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2" * 5,
    "a Slack token": "xoxb-" + "1234567890-abcdef",
    "a Hugging Face token": "hf_" + "aB" * 17,
    "a Google API key": "AIza" + "aB1_c" * 7,
    "an API key": "sk-" + "proj-" + "aB1" * 12,
    "a JSON web token": "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiIxMjM0" + ".SflKxwRJSMeKKF2QT4",
    "a password in an address": "https://me:" + "hunter22@example.org/x",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trapline").mkdir()
    (tmp_path / "trapline" / "__init__.py").touch()
    (tmp_path / "trapline" / "config.py").write_text("import json\n")
    (tmp_path / "train.py").write_text("import torch\nfrom trapline.config import x\n")
    return tmp_path


def found(folder, requirements=None):
    findings, _ = check_source(folder, requirements)
    return [(finding.field, finding.rule) for finding in findings]


@pytest.mark.parametrize("of_aws", [False, True])
def test_the_code_that_is_shipped_is_sound(tmp_path, of_aws):
    requirements = missing_from_aws_image() if of_aws else None
    staged = stage_code(tmp_path / "code", requirements)
    findings, files = check_source(staged, requirements)
    assert [str(finding) for finding in findings] == []
    assert files > 50


@pytest.mark.parametrize(
    "line",
    [
        "import moto",
        "import sagemaker.pytorch",
        "from launch import flags",
        "import trapline.confg",
        "from trapline.data.loader import x",
        "from . import nothing",
        "from .nothing import x",
        "def late():\n    import requests",
        "try:\n    pass\nfinally:\n    import requests",
        "match 1:\n    case 1:\n        import requests",
    ],
)
def test_an_import_that_is_in_neither_folder_nor_image_is_found_with_its_line(folder, line):
    (folder / "trapline" / "config.py").write_text(f"import json\n{line}\n")
    number = line.count("\n") + 2
    assert found(folder) == [(f"trapline/config.py:{number}", "import")]


@pytest.mark.parametrize(
    "line",
    [
        "import cv2, PIL.Image, sklearn.metrics, joblib, botocore",
        "from torch.utils import data",
        "from . import config",
        "from .config import x",
        "from trapline import config",
        "try:\n    import cupy\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import boto3_stubs",
    ],
)
def test_an_import_that_is_there_or_may_be_missing_is_sound(folder, line):
    (folder / "trapline" / "config.py").write_text(f"{line}\n")
    assert found(folder) == []


def test_aws_image_has_only_its_own_and_what_is_installed_there(folder):
    (folder / "train.py").write_text("import torch\nimport pandas\n")
    assert found(folder, ["pandas==3.0"]) == []
    assert found(folder, ["numpy==2.0"]) == [("train.py:2", "import")]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_named_by_kind_file_and_line_and_never_shown(folder, kind):
    (folder / "trapline" / "notes.txt").write_text(f"one\ntwo {SECRETS[kind]}\n")
    (finding,), _ = check_source(folder)
    assert (finding.field, finding.rule) == ("trapline/notes.txt:2", "secret")
    assert kind in finding.detail
    assert SECRETS[kind] not in str(finding)
    assert SECRETS[kind] not in redacted(f"key {SECRETS[kind]}")


def test_every_kind_of_secret_is_tried():
    assert SECRETS.keys() == PATTERNS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']",
        "https://example.org:8080/path@2x.png",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "task-" + "a" * 40,
        "s3://bucket/prefix",
    ],
)
def test_what_only_looks_a_little_like_a_secret_is_none(text):
    assert list(secrets_in(text)) == []
    assert redacted(text) == text


def test_files_that_do_not_belong_are_found(folder):
    (folder / "requirements.txt").write_text("torch\n")
    (folder / "setup.py").write_text("")
    (folder / "trapline" / "__pycache__").mkdir()
    (folder / "trapline" / "__pycache__" / "config.pyc").write_bytes(b"x")
    with (folder / "weights.pth").open("wb") as file:
        file.truncate(LARGEST + 1)
    assert sorted(found(folder)) == [
        ("requirements.txt", "file"),
        ("setup.py", "file"),
        ("trapline/__pycache__/config.pyc", "file"),
        ("weights.pth", "size"),
    ]


def test_what_is_no_python_is_found(folder):
    (folder / "train.py").write_text("import os\ndef broken(:\n")
    assert found(folder) == [("train.py:2", "syntax")]


def test_the_names_that_differ_are_those_of_the_installed_packages():
    provided = metadata.packages_distributions()
    for distribution, modules in IMPORTED_AS.items():
        for module in modules:
            names = {name.lower().replace("_", "-") for name in provided[module]}
            assert distribution in names
    for distribution, modules in BROUGHT.items():
        needed = " ".join(metadata.requires(distribution) or [])
        assert all(module in needed for module in modules)
