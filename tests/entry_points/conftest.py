import pytest

from tests.entry_points.jobs import THREE_EPOCHS


@pytest.fixture(scope="session")
def trained(small_demo, tmp_path_factory, run_script):
    """An undisturbed job of three epochs: its folder and what it printed. Read it only."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script("train.py", "--prepared", small_demo, "--output", folder, *THREE_EPOCHS)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
