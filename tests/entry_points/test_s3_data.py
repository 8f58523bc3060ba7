"""Raw images, prepared sets and tables in S3: the same results as from folders."""

import json
import os
import shutil

import pandas as pd
import pytest

from tests.conftest import write_jpeg
from tests.support.entry_jobs import QUICK, deterministic, history, same, tensors
from tests.support.object_store import BUCKET, serve

SITES = ["--site-regex", "(?P<site>s[0-9])_"]
RAW = f"s3://{BUCKET}/raw"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(small_demo, tmp_path_factory):
    """Raw class folders, the same images as tables, and a prepared set, all in S3 and in local folders."""
    folder = tmp_path_factory.mktemp("local")
    for label in ("cat", "dog"):
        for number in range(8):
            name = f"s{number % 4}_{number}.jpg"
            write_jpeg(folder / "raw" / label / name, number + 100 * (label == "dog"), side=40)
    write_jpeg(folder / "raw" / "unlabeled" / "u0.jpg", 500, side=40)
    write_jpeg(folder / "raw" / "unlabeled" / "u1.jpg", 501, side=40)
    _write_tables(folder)
    with serve() as store:
        store.local = folder
        for name in ("raw", "tables"):
            store.upload(folder / name, name)
        store.put("sites/sites.csv", (folder / "sites.csv").read_bytes())
        for name in ("dataset.json", "summary.json"):
            store.put(f"prepared/{name}", (small_demo / name).read_bytes())
        for part in ("train", "val", "test", "unlabeled", "transform"):
            store.upload(small_demo / part, f"prepared/{part}")
        yield store


def _write_tables(folder):
    rows, labels, sites = [], [], []
    for label in ("cat", "dog"):
        for path in sorted((folder / "raw" / label).iterdir()):
            identity = f"{label}-{path.stem}"
            rows.append({"id": identity, "filepath": f"train/{identity}.jpg", "site": path.name[:2]})
            labels.append({"id": identity, "cat": float(label == "cat"), "dog": float(label == "dog")})
            sites.append({"filepath": f"{label}/{path.name}", "site": path.name[:2]})
            (folder / "tables" / "train").mkdir(parents=True, exist_ok=True)
            (folder / "tables" / "train" / f"{identity}.jpg").write_bytes(path.read_bytes())
    pd.DataFrame(rows).to_csv(folder / "tables" / "train_features.csv", index=False)
    pd.DataFrame(labels).to_csv(folder / "tables" / "train_labels.csv", index=False)
    pd.DataFrame(sites).to_csv(folder / "sites.csv", index=False)


@pytest.fixture
def store(server, monkeypatch):
    """The server, well-behaved, and an environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.behave()
    return server


def description(folder):
    return json.loads((folder / "dataset.json").read_text())


def parts(folder):
    """File -> bytes of all parts, and of what batch transform reads."""
    names = ("train", "val", "test", "unlabeled", "transform")
    found = [path for name in names for path in (folder / name).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def fetched(store, prefix, folder):
    """What lies below a prefix, in a new folder."""
    for item in store.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]:
        path = folder / item["Key"].removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        store.client.download_file(BUCKET, item["Key"], str(path))
    return folder


def listing(folder):
    """Everything below `folder` with what a write would change."""
    states = {path: path.stat() for path in sorted([folder, *folder.rglob("*")])}
    return [(path, state.st_mtime_ns, state.st_size, state.st_ino) for path, state in states.items()]


def quarantined(folder):
    rows = pd.read_csv(folder / "quarantine.csv", keep_default_na=False)
    return dict(zip(rows["id"], rows["reason"], strict=True))


@pytest.mark.parametrize(
    ("source", "flags"), [("raw", SITES), ("tables", [])], ids=["class folders", "tables"]
)
def test_images_in_s3_are_prepared_like_those_in_a_folder(
    store, run_script, call_script, tmp_path, source, flags
):
    uri, folder = f"s3://{BUCKET}/{source}", store.local / source
    # As a process of its own, as a user runs it: its workers are spawned.
    there = run_script("prepare.py", "--input", uri, "--output", tmp_path / "s3", *flags, "--processes", 2)
    here = call_script("prepare.py", "--input", folder, "--output", tmp_path / "here", *flags)
    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    assert there.stderr == ""
    assert parts(tmp_path / "s3") == parts(tmp_path / "here")
    assert description(tmp_path / "s3").pop("source") == f"s3://{BUCKET}/{source}"
    assert {**description(tmp_path / "s3"), "source": ""} == {**description(tmp_path / "here"), "source": ""}
    assert f"s3://{BUCKET}/{source} to {tmp_path}" in there.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "s3"]


def test_of_keys_that_begin_alike_only_those_in_the_folder_are_read(store, call_script, tmp_path):
    store.upload(store.local / "raw", "begun")
    store.upload(store.local / "raw", "begun-2")
    flags = ["--output", tmp_path / "out", *SITES, "--processes", "1"]
    for given in (f"s3://{BUCKET}/begun", f"s3://{BUCKET}/begun//"):
        store.behave()
        done = call_script("prepare.py", "--input", given, *flags)
        assert done.returncode == 0, done.stderr
        assert {key.partition("/")[0] for key in store.fetched} == {"begun"}


def test_a_folder_that_is_called_like_an_archive_is_one_with_its_slash(store, call_script, tmp_path):
    store.upload(store.local / "raw", "called/traps.7z")
    flags = ["--output", tmp_path / "out", *SITES, "--processes", "1"]
    done = call_script("prepare.py", "--input", f"s3://{BUCKET}/called/traps.7z/", *flags)
    assert done.returncode == 0, done.stderr
    refused = call_script("prepare.py", "--input", f"s3://{BUCKET}/called/traps.7z", *flags)
    assert refused.returncode == 2
    assert "is a 7-Zip archive, which is not read" in refused.stderr


def test_an_archive_in_s3_is_prepared_like_the_folder_in_it(store, call_script, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", store.local, "raw")
    store.put("sets/raw.zip", (tmp_path / "packed.zip").read_bytes())
    (tmp_path / packed).unlink()
    flags = [*SITES, "--processes", "1"]
    here = call_script("prepare.py", "--input", store.local / "raw", "--output", tmp_path / "here", *flags)
    assert here.returncode == 0, here.stderr
    # The object itself, and the prefix in which it is alone: what a platform would mount.
    for uri in (f"s3://{BUCKET}/sets/raw.zip", f"s3://{BUCKET}/sets"):
        done = call_script("prepare.py", "--input", uri, "--output", tmp_path / "s3", *flags)
        assert done.returncode == 0, done.stderr
        assert parts(tmp_path / "s3") == parts(tmp_path / "here")
        assert description(tmp_path / "s3")["source"] == uri
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "s3"]


def test_a_table_of_sites_in_s3_is_read(store, call_script, tmp_path):
    flags = ["--site-csv", f"s3://{BUCKET}/sites/sites.csv", "--processes", "1"]
    done = call_script("prepare.py", "--input", store.local / "raw", "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert description(tmp_path / "out")["split"]["unseen_sites"] is True


def test_objects_without_bytes_are_quarantined_and_the_others_prepared(store, call_script, tmp_path):
    store.refused = {
        "raw/cat/s0_0.jpg": "AccessDenied",
        "raw/dog/s1_1.jpg": "NoSuchKey",
        "raw/unlabeled/u0.jpg": "AccessDenied",
    }
    flags = [*SITES, "--processes", "1", "--max-quarantine", "0.5"]
    done = call_script("prepare.py", "--input", RAW, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    expected = {"cat/s0_0.jpg": "unreadable", "dog/s1_1.jpg": "missing", "unlabeled/u0.jpg": "unreadable"}
    assert quarantined(tmp_path / "out") == expected
    assert "s3:GetObject" in (tmp_path / "out" / "quarantine.csv").read_text()
    index = pd.read_csv(tmp_path / "out" / "transform" / "index.csv", keep_default_na=False)
    assert index[["id", "name", "reason"]].values.tolist()[0] == ["unlabeled/u0.jpg", "", "unreadable"]


def test_a_table_that_cannot_be_read_ends_the_run_and_nothing_is_left(store, call_script, tmp_path):
    store.refused = {"tables/train_labels.csv": "AccessDenied"}
    done = call_script("prepare.py", "--input", f"s3://{BUCKET}/tables", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: s3://{BUCKET}/tables/train_labels.csv: access denied")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_messages_name_the_object_and_not_its_copy(store, call_script, tmp_path):
    store.put("bad/train_features.csv", b"name\n1\n")
    store.put("sites/bad.csv", b"filepath\n1\n")
    done = call_script("prepare.py", "--input", f"s3://{BUCKET}/bad/", "--output", tmp_path / "out")
    assert done.stderr.startswith(f"error: s3://{BUCKET}/bad/train_features.csv: no column id")
    flags = ["--site-csv", f"s3://{BUCKET}/sites/bad.csv"]
    done = call_script("prepare.py", "--input", RAW, "--output", tmp_path / "out", *flags)
    assert done.stderr.startswith(f"error: s3://{BUCKET}/sites/bad.csv: no column site")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("script", "flags", "code", "message"),
    [
        ("prepare.py", ["--input", f"s3://{BUCKET}/empty", "--output", "out"], 1, "no object lies below it"),
        ("prepare.py", ["--input", "s3://absent/raw", "--output", "out"], 1, "there is no such bucket"),
        ("prepare.py", ["--input", "s3:///raw", "--output", "out"], 2, "write s3://BUCKET/PREFIX"),
        (
            "prepare.py",
            ["--input", RAW, "--output", "s3://absent/out"],
            1,
            "s3://absent/out: cannot",
        ),
        ("train.py", ["--prepared", f"s3://{BUCKET}/empty", "--output", "out"], 1, "no object lies below it"),
        ("train.py", ["--prepared", f"s3://{BUCKET}", "--output", "out"], 1, "no object lies below it"),
        ("train.py", ["--prepared", "s3:///prepared", "--output", "out"], 2, "write s3://BUCKET/PREFIX"),
        (
            "train.py",
            ["--prepared", RAW, "--output", "s3://absent/out"],
            1,
            "s3://absent/out: cannot",
        ),
    ],
)
def test_wrong_places_end_with_one_line(
    store, call_script, tmp_path, monkeypatch, script, flags, code, message
):
    monkeypatch.chdir(tmp_path)
    done = call_script(script, *flags)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert message in done.stderr
    assert not (tmp_path / "s3:").exists()


def test_a_set_prepared_into_s3_is_the_same_as_in_a_folder(store, call_script, tmp_path):
    for output in (tmp_path / "here", f"s3://{BUCKET}/prepared-there"):
        done = call_script("prepare.py", "--input", RAW, "--output", output, *SITES, "--short-side", "32")
        assert done.returncode == 0, done.stderr
    there = fetched(store, "prepared-there", tmp_path / "there")
    assert parts(there) == parts(tmp_path / "here")
    assert description(there) == description(tmp_path / "here")


def test_pandas_opens_a_table_where_it_lies_in_s3(store):
    store.put("collected/predictions.csv", b"id,status,label\n7,ok,hog\n")
    opened = pd.read_csv(f"s3://{BUCKET}/collected/predictions.csv")
    assert opened.to_dict("records") == [{"id": 7, "status": "ok", "label": "hog"}]


def test_a_model_trained_into_s3_labels_a_set_in_s3_into_s3(store, call_script, tmp_path):
    prepared, run = f"s3://{BUCKET}/prepared", f"s3://{BUCKET}/run"
    done = call_script("train.py", "--prepared", prepared, "--output", run, *QUICK, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    left = fetched(store, "run", tmp_path / "run")
    assert {path.name for path in left.iterdir()} - {"checkpoints"} == {"model", "output"}
    done = call_script(
        "pseudo_label.py", "--prepared", prepared, "--model", f"{run}/model", "--output", f"{run}/labels"
    )
    assert done.returncode == 0, done.stderr
    labels = fetched(store, "run/labels", tmp_path / "labels")
    assert {path.name for path in labels.iterdir()} == {"pseudo_labels.csv", "pseudo_labels.json"}


def test_training_from_s3_gives_the_same_model_as_from_the_folder(
    store, small_demo, run_script, call_script, tmp_path
):
    uri = f"s3://{BUCKET}/prepared"
    flags = [*QUICK, "--epochs", "1"]
    # As a process of its own with a worker; workers change no result.
    there = run_script(
        "train.py", "--prepared", uri, "--output", tmp_path / "s3", *flags, "--num-workers", "1"
    )
    before = listing(small_demo)
    here = call_script("train.py", "--prepared", small_demo, "--output", tmp_path / "here", *flags)
    assert listing(small_demo) == before  # as a read-only channel asks
    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    assert there.stderr == here.stderr
    assert deterministic(history(tmp_path / "s3")) == deterministic(history(tmp_path / "here"))
    assert same(tensors(tmp_path / "s3"), tensors(tmp_path / "here"))
    (copy,) = (path for path in (tmp_path / "s3" / "input" / "s3").iterdir() if path.name[0] != ".")
    assert sorted(path.name for path in copy.iterdir()) == ["dataset.json", "train", "val"]


def test_a_second_job_copies_nothing_again(store, call_script, tmp_path):
    command = [
        "train.py",
        "--prepared",
        f"s3://{BUCKET}/prepared/",
        "--output",
        tmp_path,
        *QUICK,
        "--epochs",
        "1",
    ]
    assert call_script(*command).returncode == 0
    assert store.fetched
    store.fetched.clear()
    done = call_script(*command, "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert "copying 0 objects" in done.stdout
    assert store.fetched == []


def test_a_set_without_a_description_in_s3_says_what_makes_one(store, call_script, tmp_path):
    store.put("half/train/train-00000.arrow")
    done = call_script("train.py", "--prepared", f"s3://{BUCKET}/half", "--output", tmp_path, *QUICK)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: s3://{BUCKET}/half/dataset.json: no such object; entry_points/prep"
    )


def test_a_killed_preparation_leaves_its_copy_to_the_next_one(store, call_script, tmp_path, monkeypatch):
    from trapline.preparation import raw_input

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    command = ["prepare.py", "--input", RAW, "--output", tmp_path / "out", *SITES, "--processes", "1"]
    with monkeypatch.context() as patch:  # as after SIGKILL: nothing is tidied up
        patch.setattr(raw_input, "remove_copy", lambda copy: None)
        patch.setattr(raw_input, "read_source", interrupted)
        assert call_script(*command).returncode == 130
    store.fetched.clear()
    assert call_script(*command).returncode == 0
    assert store.fetched == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
