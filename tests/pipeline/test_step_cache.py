"""The cache of steps: what counts as the same, and what does not."""

import shutil
from importlib import metadata

import pytest

from trapline.launching import checkout
from trapline.launching.local.sources import StepCache, tree_state

REQUEST = {"Image": "x", "Arguments": ["--a", "{place}/in"]}


@pytest.fixture
def workspace(tmp_path):
    """A temporary folder with something to read, and something left."""
    return furnish(tmp_path / "first")


def furnish(folder):
    for name in ("in", "out"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file.txt").write_text(name)
    return folder


def cache_of(workspace):
    return StepCache(workspace.parent / "cache", workspace)


def digest(workspace, **changes):
    request = {**REQUEST, "Arguments": [str(workspace / "in")], **changes}
    return cache_of(workspace).digest(request, [f"file://{workspace}/in"])


def keep(workspace):
    cache = cache_of(workspace)
    cache.keep("Step", digest(workspace), {"Uri": f"file://{workspace}/out"}, [f"file://{workspace}/out"])
    return cache


def test_what_was_asked_the_same_is_remembered_with_its_answer(workspace):
    assert keep(workspace).recall("Step", digest(workspace)) == {"Uri": f"file://{workspace}/out"}


def test_another_temporary_folder_makes_no_difference(workspace, tmp_path):
    keep(workspace)
    moved = tmp_path / "second"
    shutil.copytree(workspace, moved, copy_function=shutil.copy2)
    assert cache_of(moved).recall("Step", digest(moved)) == {"Uri": f"file://{moved}/out"}


def test_another_request_is_another_step(workspace):
    assert keep(workspace).recall("Step", digest(workspace, Image="y")) is None


def test_a_changed_input_is_another_step(workspace):
    cache = keep(workspace)
    (workspace / "in" / "file.txt").write_text("other")
    assert cache.recall("Step", digest(workspace)) is None


def test_other_versions_make_another_step(workspace, monkeypatch):
    cache = keep(workspace)
    monkeypatch.setattr(metadata, "version", lambda _: "0")
    assert cache.recall("Step", digest(workspace)) is None


def test_in_containers_another_image_makes_another_step_and_what_is_installed_here_does_not(
    workspace, monkeypatch
):
    def asked(image):
        return StepCache(workspace.parent / "cache", workspace, image=[image]).digest(REQUEST, [])

    before = asked("sha256:1")
    assert asked("sha256:2") != before
    monkeypatch.setattr(metadata, "version", lambda _: "0")
    assert asked("sha256:1") == before


def test_other_code_of_the_jobs_makes_another_step(workspace, tmp_path, monkeypatch):
    cache = keep(workspace)
    monkeypatch.setattr(checkout, "entry_points", lambda: tmp_path / "first")
    assert cache.recall("Step", digest(workspace)) is None


@pytest.mark.parametrize("harm", ["changed", "removed", "added"])
def test_a_step_whose_results_are_not_as_it_left_them_is_run_again(workspace, harm):
    cache = keep(workspace)
    file = workspace / "out" / "file.txt"
    {"changed": lambda: file.write_text("longer"), "removed": file.unlink,
     "added": file.with_name("new").touch}[harm]()  # fmt: skip
    assert cache.recall("Step", digest(workspace)) is None


def test_what_an_earlier_try_left_is_removed(workspace):
    cache = keep(workspace)
    cache.forget("Step", [f"file://{workspace}/out"])
    assert not (workspace / "out").exists()
    assert cache.recall("Step", digest(workspace)) is None


def test_the_bytecode_of_the_code_does_not_count(workspace):
    before = tree_state(f"file://{workspace}/in")
    (workspace / "in" / "__pycache__").mkdir()
    (workspace / "in" / "__pycache__" / "x.pyc").touch()
    assert tree_state(f"file://{workspace}/in") == before


def test_the_folders_of_systems_do_not_count(workspace):
    before = tree_state(f"file://{workspace}/in")
    (workspace / "in" / "lost+found").mkdir()
    (workspace / "in" / "lost+found" / "x").touch()
    assert tree_state(f"file://{workspace}/in") == before


def test_what_a_link_out_of_the_data_leads_to_counts_where_it_is_followed(workspace):
    (workspace / "in" / "linked").symlink_to(workspace / "out")
    following = StepCache(workspace.parent / "cache", workspace, follow_links=True)
    caches = (cache_of(workspace), following)
    before = [cache.digest(REQUEST, [f"file://{workspace}/in"]) for cache in caches]
    (workspace / "out" / "file.txt").write_text("longer")
    after = [cache.digest(REQUEST, [f"file://{workspace}/in"]) for cache in caches]
    assert after[0] == before[0]
    assert after[1] != before[1]
