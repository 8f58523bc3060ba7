import pytest

from tests.support.entry_jobs import THREE_EPOCHS
from tests.support.evaluated import SIDE


@pytest.fixture(scope="session")
def trained(small_demo, tmp_path_factory, call_script):
    """An undisturbed job of three epochs: its folder and what it printed. Read it only."""
    folder = tmp_path_factory.mktemp("trained")
    done = call_script("train.py", "--prepared", small_demo, "--output", folder, *THREE_EPOCHS)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="session")
def many_sites(tmp_path_factory, call_script):
    """A prepared demo set of 160 labelled and 16 unlabelled images at 36 sites. Read it only."""
    folder = tmp_path_factory.mktemp("evaluated") / "prepared"
    done = call_script(
        "prepare.py", "--input", "demo", "--output", folder, "--short-side", SIDE, "--demo-images", 160,
        "--demo-unlabeled", 16, "--demo-sites", 36, "--max-quarantine", 0.5, "--shares", "0.4,0.3,0.3",
        "--processes", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
