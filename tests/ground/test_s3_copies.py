"""Places in S3: what a command reads is fetched, what it leaves is uploaded, errors name the URI."""

import os
from pathlib import Path

import pytest

from tests.support.object_store import BUCKET, serve
from trapline.errors import TraplineError
from trapline.job_options import CollectOptions, PseudoLabelOptions
from trapline.s3_copies import local_places, upload_folder

ROOT = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def server():
    with serve() as store:
        store.put("set/dataset.json", b"{}")
        store.put("set/train/a.arrow", b"a")
        store.put("job/model.tar.gz", b"model")
        store.put("phase1/metrics.csv", b"first")
        store.put("evaluated/evaluation.json", b"{}")
        store.put("evaluated/test_predictions.csv", b"rows")
        store.put("evaluated/champion/model.tar.gz", b"model")
        yield store


@pytest.fixture
def store(server, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server.behave()
    return server


def options(**changes):
    given = {"prepared": f"{ROOT}/set", "model": f"{ROOT}/job/model.tar.gz", "output": f"{ROOT}/out/"}
    return PseudoLabelOptions(**given | changes)


def leave(given, name, content=b"", error=None):
    """Use the places as a command does that writes one file."""
    with local_places(given) as local:
        (Path(local.output) / name).write_bytes(content)
        if error:
            raise TraplineError(error.format(prepared=local.prepared))


def content(store, prefix):
    listed = store.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {
        item["Key"]: store.client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in listed
    }


def test_inputs_are_fetched_and_results_uploaded_and_nothing_stays(store, tmp_path):
    with local_places(options()) as local:
        assert (Path(local.prepared) / "train" / "a.arrow").read_bytes() == b"a"
        assert Path(local.model).read_bytes() == b"model"
        (Path(local.output) / "deep").mkdir()
        (Path(local.output) / "deep" / "x.csv").write_bytes(b"x")
    assert content(store, "out/") == {"out/deep/x.csv": b"x"}
    assert list(tmp_path.iterdir()) == []


def test_local_places_stay_as_they_are(store, tmp_path):
    given = options(prepared=str(tmp_path), model="m", output="out")
    with local_places(given) as local:
        assert local is given


def test_what_lies_beside_an_evaluation_comes_with_it_and_lists_are_fetched_one_by_one(store):
    given = CollectOptions(
        prepared="set", predictions="p", output="out", evaluation=f"{ROOT}/evaluated/evaluation.json",
        history=(f"{ROOT}/phase1/metrics.csv", "runs/x/metrics.csv"),
    )  # fmt: skip
    with local_places(given) as local:
        assert Path(local.evaluation).with_name("test_predictions.csv").read_bytes() == b"rows"
        assert not Path(local.evaluation).with_name("champion").exists()
        assert Path(local.history[0]).read_bytes() == b"first"
        assert local.history[1] == "runs/x/metrics.csv"
        assert local.prepared == "set"


def test_an_error_names_the_uri_and_nothing_is_uploaded(store, tmp_path):
    with pytest.raises(TraplineError) as failure:
        leave(options(output=f"{ROOT}/failed"), "half.csv", error="{prepared}/dataset.json: damaged")
    assert str(failure.value) == f"{ROOT}/set/dataset.json: damaged"
    assert content(store, "failed") == {}
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named_before_the_work_begins(store, tmp_path):
    with pytest.raises(TraplineError, match=f"{ROOT}/nothing/?: no object lies below it"):
        leave(options(prepared=f"{ROOT}/nothing"), "x.csv", error="the work began")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_cannot_be_written_is_named_before_the_work_begins(store):
    with pytest.raises(TraplineError, match=r"^s3://no-such-bucket/out: cannot be written; there is no such"):
        leave(options(output="s3://no-such-bucket/out"), "x.csv", error="the work began")


def test_results_that_cannot_be_uploaded_stay_here_and_their_folder_is_named(store, tmp_path):
    (tmp_path / "kept.csv").write_bytes(b"kept")
    with pytest.raises(TraplineError, match=f"no such bucket.*; the results lie in {tmp_path}"):
        upload_folder(tmp_path, "s3://no-such-bucket/out")
    assert (tmp_path / "kept.csv").exists()
