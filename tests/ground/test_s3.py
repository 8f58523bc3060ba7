"""Copying from S3: one object, and a folder as the copy of a prefix."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
from botocore.paginate import Paginator

from tests.support.object_store import BUCKET, CREDENTIALS, serve
from trapline.errors import TraplineError, UsageError
from trapline.preparation.archives import raw_place
from trapline.s3 import as_file, as_folder, fetch, is_s3, place_of, split_uri
from trapline.s3_copies import fetch_folder, remove_copy


@pytest.fixture(scope="module")
def server():
    with serve() as store:
        yield store


@pytest.fixture
def store(server, monkeypatch):
    """An empty bucket, and an environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.behave()
    for entry in server.client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        server.client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    return server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "copy"


def files(folder):
    """Relative path -> content of everything below `folder`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_an_s3_uri_is_told_from_a_path():
    assert is_s3("s3://bucket/a")
    assert not is_s3("s3/bucket")
    assert split_uri("s3://bucket/a/b") == ("bucket", "a/b")
    with pytest.raises(UsageError, match=r"s3:///a: not an S3 URI; write s3://BUCKET/PREFIX"):
        split_uri("s3:///a")


def test_one_object_is_copied_and_a_failure_leaves_the_old_file(store, tmp_path):
    store.put("a/b.csv", b"new")
    path = tmp_path / "deep" / "b.csv"
    assert fetch(f"s3://{BUCKET}/a/b.csv", path).read_bytes() == b"new"
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/a/gone\.csv: no such object in S3"):
        fetch(f"s3://{BUCKET}/a/gone.csv", path)
    assert files(tmp_path) == {"deep/b.csv": b"new"}


def test_a_folder_holds_what_lies_below_the_prefix_and_nothing_else(store, target):
    wanted = {"a.jpg": b"1", "sub/b c?#%41 é.jpg": b"2", "sub/deep/c": b""}
    for name, content in wanted.items():
        store.put(f"raw/{name}", content)
    store.put("rawer/x", b"of another prefix")
    for uri in (f"s3://{BUCKET}/raw", f"s3://{BUCKET}/raw/"):
        assert fetch_folder(uri, target) == {}
        assert files(target) == wanted


def test_a_whole_bucket_can_be_copied(store, target):
    store.put("a", b"1")
    store.put("b/c", b"2")
    fetch_folder(f"s3://{BUCKET}", target)
    assert files(target) == {"a": b"1", "b/c": b"2"}


def test_only_what_is_asked_for_is_copied(store, target):
    for name in ("dataset.json", "dataset.json.bak", "train/1", "training/2", "test/3"):
        store.put(f"set/{name}")
    fetch_folder(f"s3://{BUCKET}/set", target, only=("dataset.json", "train/"))
    assert set(files(target)) == {"dataset.json", "train/1"}


def test_listings_of_many_pages_are_read_to_their_end(store, target, monkeypatch):
    for number in range(7):
        store.put(f"raw/{number}")
    pages = Paginator.paginate
    small = {"PaginationConfig": {"PageSize": 3}}
    monkeypatch.setattr(Paginator, "paginate", lambda *a, **k: pages(*a, **k, **small))
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert set(files(target)) == set("0123456")


def test_what_was_copied_and_is_unchanged_is_not_copied_again(store, target):
    for name in "abc":
        store.put(f"raw/{name}", b"old")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    store.fetched.clear()
    store.put("raw/b", b"new")  # the same size: only its ETag tells
    store.client.delete_object(Bucket=BUCKET, Key="raw/c")
    store.put("raw/d/e", b"more")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert sorted(store.fetched) == ["raw/b", "raw/d/e"]
    assert files(target) == {"a": b"old", "b": b"new", "d/e": b"more"}


def test_a_copy_that_was_cut_or_is_not_recorded_is_made_anew(store, target):
    for name in "abc":
        store.put(f"raw/{name}", b"whole")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    (target / "a").write_bytes(b"ha")
    journal = target.with_name(".copy.copying") / "copied.jsonl"
    journal.write_text(journal.read_text()[:-5])  # as a kill leaves it
    store.fetched.clear()
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert sorted(store.fetched) == ["raw/a", "raw/c"]
    assert set(files(target).values()) == {b"whole"}


def test_a_folder_takes_the_place_of_a_file_of_the_same_name_and_back(store, target):
    store.put("raw/a", b"file")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    store.client.delete_object(Bucket=BUCKET, Key="raw/a")
    store.put("raw/a/b", b"below")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {"a/b": b"below"}
    store.client.delete_object(Bucket=BUCKET, Key="raw/a/b")
    store.put("raw/a", b"file")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {"a": b"file"}


def test_a_killed_copy_goes_on(store, target):
    for number in range(40):
        store.put(f"raw/{number:02d}", b"x" * number)
    started = threading.Event()
    store.before["raw/35"] = lambda: (started.set(), threading.Event().wait(3))
    script = "import sys; from pathlib import Path; from trapline.s3_copies import fetch_folder\n"
    script += "fetch_folder(sys.argv[1], Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", script, f"s3://{BUCKET}/raw", str(target)])
    assert started.wait(20)
    journal = target.with_name(".copy.copying") / "copied.jsonl"
    while len(journal.read_text().splitlines()) < 19:
        assert process.poll() is None
    process.kill()
    process.wait()
    copied = {f"raw/{json.loads(line)[0]}" for line in journal.read_text().splitlines()}
    assert len(copied) >= 19
    store.fetched.clear()  # the server may still note what the killed process asked for last
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {f"{number:02d}": b"x" * number for number in range(40)}
    assert not copied & set(store.fetched)


def test_two_processes_that_copy_to_one_folder_copy_each_object_once(store, target, capsys):
    for number in range(20):
        store.put(f"raw/{number}")
    threads = [threading.Thread(target=fetch_folder, args=(f"s3://{BUCKET}/raw", target)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.fetched) == 20
    assert "waiting for another process" in capsys.readouterr().out


def test_a_copy_may_begin_while_another_process_removes_its_own_there(store, target, monkeypatch):
    """The journal's folder goes between being made and being locked."""
    store.put("raw/a")
    lock, removed = fcntl.flock, []

    def remove_first(descriptor, how):
        if not removed:
            removed.append(target)
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(target.with_name(f".{target.name}.copying"))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert removed
    assert set(files(target)) == {"a"}


def test_a_folder_that_is_no_copy_is_left_alone(store, target):
    store.put("raw/a")
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    with pytest.raises(TraplineError, match="is there already and no copy from S3"):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    remove_copy(target)
    assert files(target) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (["../evil"], r"raw/\.\./evil: its key holds \. or \.\."),
        (["a/../../evil"], r"holds \. or \.\."),
        (["./a"], r"holds \. or \.\."),
        (["/etc/evil"], r"raw//etc/evil: its key holds an empty name"),
        (["a//b"], "holds an empty name"),
        (["a", "a/b"], r"raw/a: its key is also that of a folder"),
    ],
)
def test_keys_that_would_leave_the_folder_are_refused_before_anything_is_written(
    store, target, tmp_path, keys, named
):
    for key in ["good.jpg", *keys]:
        store.put(f"raw/{key}", b"evil")
    with pytest.raises(TraplineError, match=named):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    assert [path.name for path in tmp_path.rglob("*evil*")] == []
    assert files(target) == {}


def test_objects_that_only_mark_a_folder_are_skipped(store, target):
    for key in ("raw/", "raw/sub/", "raw/other"):
        store.put(key, b"")
    store.put("raw/sub/a")
    store.put("raw/other/b")
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert set(files(target)) == {"sub/a", "other/b"}


def test_an_object_that_changes_or_vanishes_under_way_is_named(store, target):
    store.put("raw/a", b"first")
    store.before["raw/a"] = lambda: store.put("raw/a", b"other")
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/raw/a: it changed while it was copied"):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    store.before["raw/a"] = lambda: store.client.delete_object(Bucket=BUCKET, Key="raw/a")
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/raw/a: no such object"):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {}


def test_bytes_that_break_off_are_asked_for_again(store, target):
    store.put("raw/a", b"whole" * 1000)
    store.cut["raw/a"] = 2
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {"a": b"whole" * 1000}
    assert store.fetched == ["raw/a"] * 3


def test_bytes_that_always_break_off_are_an_error_and_leave_nothing(store, target):
    store.put("raw/a", b"whole" * 1000)
    store.cut["raw/a"] = 99
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/raw/a: cannot be read from S3 .*3 times"):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    assert files(target) == {}


def test_objects_that_may_fail_are_reported_and_the_others_copied(store, target):
    for name in "abcd":
        store.put(f"raw/{name}")
    store.refused = {"raw/b": "AccessDenied", "raw/c": "NoSuchKey"}
    problems = fetch_folder(f"s3://{BUCKET}/raw", target, may_fail=lambda name: name in "bc")
    assert set(files(target)) == {"a", "d"}
    assert {name: problem.missing for name, problem in problems.items()} == {"b": False, "c": True}
    assert "s3:GetObject" in problems["b"].detail
    store.refused = {"raw/a": "AccessDenied"}
    remove_copy(target)
    with pytest.raises(TraplineError, match=rf"s3://{BUCKET}/raw/a: access denied"):
        fetch_folder(f"s3://{BUCKET}/raw", target, may_fail=lambda name: name in "bc")


def test_when_every_object_is_refused_that_is_the_error(store, target):
    for name in "abc":
        store.put(f"raw/{name}")
        store.refused[f"raw/{name}"] = "AccessDenied"
    with pytest.raises(TraplineError, match=r"access denied.*so it is with every object"):
        fetch_folder(f"s3://{BUCKET}/raw", target, may_fail=lambda name: True)


def test_expired_credentials_end_the_copy_even_where_objects_may_fail(store, target):
    store.put("raw/a")
    store.put("raw/b")
    store.refused["raw/a"] = "ExpiredToken"
    with pytest.raises(TraplineError, match="credentials have expired"):
        fetch_folder(f"s3://{BUCKET}/raw", target, may_fail=lambda name: True)


def test_a_disk_that_is_too_small_is_named_before_the_copy(store, target, monkeypatch):
    store.put("raw/a", b"x" * 2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 0, 1000))
    with pytest.raises(TraplineError, match=rf"{target}: .* do not fit"):
        fetch_folder(f"s3://{BUCKET}/raw", target)
    assert store.fetched == []


REFUSALS = {
    "an empty prefix": ("s3://traps/nothing", {}, "no object lies below it"),
    "a missing bucket": ("s3://absent-bucket/a", {}, "there is no such bucket"),
    "no credentials": (
        "s3://traps/raw",
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        "no AWS cred",
    ),
    "an unknown profile": ("s3://traps/raw", {"AWS_PROFILE": "nobody"}, "no AWS credentials .*nobody"),
    "an impossible name": ("s3://no such bucket/a", {}, "not a name that S3 takes"),
}


@pytest.mark.parametrize(("uri", "changes", "message"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_wrong_with_the_place_is_one_line(store, target, monkeypatch, uri, changes, message):
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(TraplineError, match=message) as refusal:
        fetch_folder(uri, target)
    assert str(refusal.value).startswith(f"{uri}: ")
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 1


def test_a_listing_that_is_denied_says_which_rights_are_needed(store, target):
    store.refused[""] = "AccessDenied"
    with pytest.raises(TraplineError, match=r"s3://traps/raw: access denied; .*s3:ListBucket"):
        fetch_folder("s3://traps/raw", target)


def test_an_endpoint_that_does_not_answer_is_named(target, monkeypatch):
    for name, value in {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TraplineError) as refusal:
        fetch_folder("s3://traps/raw", target)
    assert re.search(r"S3 cannot be reached .*127\.0\.0\.1:9.*; check the network", str(refusal.value))


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_both_variables_for_the_endpoint_are_heeded(store, target, monkeypatch, variable):
    store.put("raw/a")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv(variable, store.endpoint)
    fetch_folder(f"s3://{BUCKET}/raw", target)
    assert set(files(target)) == {"a"}


NAMES = [  # given, kind, as a job is given it
    ("s3://b", "bucket", "s3://b/"),
    ("s3://b/", "bucket", "s3://b/"),
    ("s3://b//", "bucket", "s3://b/"),
    ("s3://b/raw", "folder", "s3://b/raw/"),
    ("s3://b/raw/", "folder", "s3://b/raw/"),
    ("s3://b/raw//", "folder", "s3://b/raw/"),
    ("s3://b/2024.05", "folder", "s3://b/2024.05/"),
    ("s3://b/a//raw", "folder", "s3://b/a//raw/"),
    ("s3://b/two words/100% #1?", "folder", "s3://b/two words/100% #1?/"),
    ("s3://b/x.zip", "object", "s3://b/x.zip"),
    ("s3://b/deep/x.TAR.GZ", "object", "s3://b/deep/x.TAR.GZ"),
    ("s3://b/two words #1.ZIP", "object", "s3://b/two words #1.ZIP"),
    ("s3://b//x.zip", "object", "s3://b//x.zip"),
    ("s3://b/sites.CSV", "object", "s3://b/sites.CSV"),
    ("s3://b/x.7z", "object", "s3://b/x.7z"),
    ("s3://b/x.zip/", "folder", "s3://b/x.zip/"),
    ("s3://b/x.zip//", "folder", "s3://b/x.zip/"),
    ("s3://b/zip", "folder", "s3://b/zip/"),
    ("s3://b.zip", "bucket", "s3://b.zip/"),
]


@pytest.mark.parametrize(("given", "kind", "uri"), NAMES, ids=[given for given, *_ in NAMES])
def test_a_uri_names_a_bucket_a_folder_or_by_the_suffix_of_a_file_an_object(given, kind, uri):
    place = place_of(given)
    assert (place.kind, place.uri) == (kind, uri)
    assert place_of(place.uri) == place


@pytest.mark.parametrize("given", ["s3://b/raw ", "s3://b/raw\n", "s3://b /raw", "s3://b/x.zip "])
def test_a_blank_at_the_end_is_refused_as_no_name_shows_it(given):
    for read in (place_of, as_folder, as_file):
        with pytest.raises(UsageError, match="a blank at the end of the bucket or the key; leave it out"):
            read(given)


@pytest.mark.parametrize("given", ["s3://", "s3:///raw", "raw", "https://b/raw"])
def test_what_names_no_bucket_is_refused(given):
    with pytest.raises(UsageError, match="not an S3 URI"):
        place_of(given)


def test_what_can_be_nothing_but_a_folder_gets_its_slash_whatever_its_suffix():
    given = ["s3://b", "s3://b/set", "s3://b/set//", "s3://b/set.v1.tar"]
    assert [as_folder(uri) for uri in given] == [
        "s3://b/",
        "s3://b/set/",
        "s3://b/set/",
        "s3://b/set.v1.tar/",
    ]


def test_what_can_be_nothing_but_a_file_is_an_object_whatever_its_suffix():
    assert (as_file("s3://b/sites").key, as_file("s3://b/sites").kind) == ("sites", "object")
    for given in ("s3://b", "s3://b/", "s3://b/sites/"):
        with pytest.raises(UsageError, match=f"--prepare site-csv {given}: names a folder; give one file"):
            as_file(given, "--prepare site-csv")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3://b/x.7z", "is a 7-Zip archive, which is not read"),
        ("s3://b/x.RAR", "is a RAR archive, which is not read"),
        ("s3://b/x.zip.001", "is one part of several"),
        ("s3://b/labels.csv", "is one file; give the folder that holds it, or .zip"),
        ("s3://b/one.JPG", "is one file"),
    ],
)
def test_raw_images_are_a_folder_a_bucket_or_an_archive_that_is_read(given, said):
    with pytest.raises(UsageError, match=f"--data {given}: {said}"):
        raw_place(given, "--data")
    assert raw_place(f"{given}/").uri == f"{given}/"
