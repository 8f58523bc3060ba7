"""A set that an older version prepared may spell one camera in two ways: what is reported stays true."""

import csv
import json
import shutil

import pyarrow as pa
import pytest

from tests.entry_points.test_evaluate import FAST
from tests.support.evaluated import one_history, write_model
from trapline.data.prepared import open_prepared

pytestmark = pytest.mark.slow
FAILED = json.dumps({"status": "failed", "reason": "corrupt"})


def respell(prepared, part, change):
    """Write a part anew with other sites: change(sites) -> sites."""
    (path,) = open_prepared(prepared, parts=[part]).part(part).files
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    column = table.schema.get_field_index("site")
    sites = pa.array(change(table["site"].to_pylist()), pa.string())
    content = table.set_column(column, "site", sites)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content)


@pytest.fixture
def copied(many_sites, tmp_path):
    return shutil.copytree(many_sites, tmp_path / "prepared")


@pytest.fixture
def answers(many_sites, tmp_path):
    """What batch transform wrote: that it failed, for each input."""
    with (many_sites / "transform" / "index.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    (tmp_path / "answers").mkdir()
    for name in filter(None, names):
        (tmp_path / "answers" / f"{name}.out").write_text(FAILED)
    return tmp_path / "answers"


@pytest.fixture
def evaluate(call_script, many_sites, tmp_path):
    """Evaluate a model that knows train: (prepared) -> evaluation.json, what was printed."""
    model = write_model(many_sites, tmp_path / "model", ["train"])

    def call(prepared):
        output = tmp_path / "evaluation"
        words = ["--prepared", prepared, "--phase1", model, "--output", output, "--views", "none", *FAST]
        done = call_script("evaluate.py", *words)
        assert done.returncode == 0, done.stderr
        return json.loads((output / "evaluation.json").read_text()), done.stdout

    return call


def test_a_site_in_two_spellings_is_one_site_of_the_report(evaluate, many_sites, copied, tmp_path):
    before, _ = evaluate(many_sites)
    respell(
        copied, "test", lambda sites: [f" {site}" if n % 3 == 0 else site for n, site in enumerate(sites)]
    )
    after, printed = evaluate(copied)
    assert after == before
    assert "note: sites spelt in several ways are one each" in printed
    with (tmp_path / "evaluation" / "test_predictions.csv").open(newline="") as file:
        assert {row["site"] for row in csv.DictReader(file)} == {
            row["site"] for row in before["test"]["per_site"]
        }


def test_a_camera_of_train_in_the_test_part_takes_the_claim_away_also_from_an_old_evaluation(
    evaluate, many_sites, copied, answers, call_script, tmp_path
):
    before, _ = evaluate(many_sites)
    assert before["data"]["shared_sites"] == []
    seen = open_prepared(copied).part("train").table["site"][0].as_py()
    respell(copied, "test", lambda sites: [f"{seen.upper()} ", *sites[1:]])
    collected = tmp_path / "collected"
    done = call_script(
        "collect.py", "--prepared", copied, "--predictions", answers, "--evaluation", tmp_path / "evaluation",
        "--history", one_history(tmp_path / "metrics.csv"), "--output", collected,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (collected / "report.html").read_text()
    assert "Nothing can be claimed about unseen cameras" in page
    assert "cameras that it was not trained on" not in page
    after, _ = evaluate(copied)
    assert (after["data"]["unseen_sites"], after["data"]["shared_sites"]) == (False, [seen])
    assert not any("cameras" in sentence for sentence in after["claimed"])
