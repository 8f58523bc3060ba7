import csv
import io
import json
import re
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest

from tests.support.evaluated import one_history, write_model
from trapline.data.prepared import open_prepared
from trapline.evaluation.evaluating import evaluate
from trapline.job_options import EvaluateOptions
from trapline.preparation.completion import data_digest, write_state

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(many_sites, tmp_path_factory):
    """The folder of an evaluation. Read it only."""
    folder = tmp_path_factory.mktemp("evaluation")
    model = write_model(many_sites, folder / "model", ["train"])
    places = {"prepared": str(many_sites), "phase1": str(model), "output": str(folder)}
    evaluate(EvaluateOptions(**places, views="none", precision="fp32", resamples=100))
    return folder


def inputs(prepared):
    with (prepared / "transform" / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def answers(many_sites, tmp_path):
    """What batch transform wrote: an answer for each input but the last, the first one failed."""
    classes = open_prepared(many_sites, parts=[]).description.classes
    random = np.random.default_rng(0)
    folder = tmp_path / "answers" / "images"
    folder.mkdir(parents=True)
    for number, row in enumerate(inputs(many_sites)[:-1]):
        probabilities = random.dirichlet(np.full(len(classes), 0.3))
        answer = {
            "status": "ok",
            "reason": None,
            "label": classes[probabilities.argmax()],
            "confidence": probabilities.max(),
            "probabilities": dict(zip(classes, probabilities, strict=True)),
        }
        if number == 0:
            answer = {"status": "failed", "reason": "corrupt", "label": None, "probabilities": None}
        (folder / f"{row['name']}.out").write_text(json.dumps(answer))
    return folder.parent


@pytest.fixture
def collect(many_sites, answers, evaluation, call_script, tmp_path):
    """Run collect.py: (*flags) -> the finished process; the results are in tmp_path/out."""

    def call(*flags, prepared=many_sites):
        return call_script(
            "collect.py", "--prepared", prepared, "--predictions", answers,
            "--evaluation", evaluation / "evaluation.json", "--output", tmp_path / "out", *flags,
        )  # fmt: skip

    return call


def test_every_input_has_exactly_one_row(collect, many_sites, tmp_path):
    done = collect("--review-below", "0.5")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["id"].tolist() == [row["id"] for row in inputs(many_sites)]
    assert table["status"].value_counts().to_dict() == {"ok": len(table) - 2, "failed": 2}
    assert table["reason"].dropna().tolist() == ["corrupt", "no_answer"]
    sure = table["confidence"] >= 0.5
    assert (table["needs_review"] == ~sure).all()
    classes = open_prepared(many_sites, parts=[]).description.classes
    assert table.loc[table["status"] == "ok", classes].sum(axis=1).tolist() == pytest.approx(
        [1] * (len(table) - 2)
    )
    assert (
        f"{len(table)} inputs: {len(table) - 2} predicted, 2 failed (1 corrupt, 1 no_answer)" in done.stdout
    )


def test_the_submission_follows_its_format_with_the_prior_where_it_failed(
    collect,
    many_sites,
    tmp_path,
):
    done = collect()
    wanted = pd.read_csv(many_sites / "submission_format.csv")
    found = pd.read_csv(tmp_path / "out" / "submission.csv")
    assert found["id"].tolist() == wanted["id"].tolist()
    assert found.columns.tolist() == wanted.columns.tolist()
    counts = open_prepared(many_sites, parts=[]).description.counts["train"]
    prior = np.array([counts[name] for name in found.columns[1:]]) / sum(counts.values())
    assert found.iloc[0, 1:].to_numpy(dtype=float) == pytest.approx(prior)
    assert "2 of them with the class prior because the input failed" in done.stdout


def test_another_format_can_be_given_and_its_faults_are_told(collect, tmp_path):
    (tmp_path / "format.csv").write_text("id,cat,dog\nA,0.5,0.5\n")
    done = collect("--submission-format", tmp_path / "format.csv")
    assert done.returncode == 1
    assert re.match(
        r"error: .*format.csv: its columns \(id, cat, dog\) are not id and the classes", done.stderr
    )
    assert collect("--submission-format", tmp_path / "absent.csv").returncode == 1


def test_without_a_format_there_is_no_submission_not_even_an_old_one(
    collect,
    many_sites,
    tmp_path,
):
    assert collect().returncode == 0
    copy = shutil.copytree(many_sites, tmp_path / "prepared")
    (copy / "submission_format.csv").unlink()
    assert collect(prepared=copy).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "counts.csv", "effort.csv", "events.csv", "predictions.csv", "report.html",
    ]  # fmt: skip


def test_the_answers_are_written_in_the_formats_that_are_asked_for(collect, many_sites, tmp_path):
    done = collect("--formats", "megadetector", "coco", "--drop-classes", "blank")
    assert done.returncode == 0, done.stderr
    given = inputs(many_sites)
    images = json.loads((tmp_path / "out" / "megadetector.json").read_text())["images"]
    assert [image["file"] for image in images] == [row["filepath"] for row in given]
    assert images[0]["failure"] == "corrupt"
    assert len(json.loads((tmp_path / "out" / "coco.json").read_text())["images"]) == len(given)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert table["site"].tolist() == [row["site"] for row in given]
    assert table["path"].tolist() == [row["filepath"] for row in given]


def test_what_a_format_lacks_and_a_class_that_is_none_are_said_before_anything_is_read(collect, tmp_path):
    done = collect("--drop-classes", "unicorn")
    assert (done.returncode, "--drop-classes unicorn: the model has no such class" in done.stderr) == (
        2,
        True,
    )
    done = collect("--formats", "camtrap-dp")
    assert (done.returncode, "--project" in done.stderr) == (2, True)
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_the_report_shows_errors_as_pictures_and_the_curves_of_both_phases(collect, evaluation, tmp_path):
    first = one_history(tmp_path / "phase1" / "metrics.csv")
    second = tmp_path / "phase2" / "output.tar.gz"
    second.parent.mkdir()
    with tarfile.open(second, "w:gz") as archive:
        member = tarfile.TarInfo("metrics.csv")
        member.size = first.stat().st_size
        archive.addfile(member, io.BytesIO(first.read_bytes()))
    done = collect("--history", first, "--history", second.parent)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'alt="learning curves of Phase 1"' in page
    assert 'alt="learning curves of Phase 2"' in page
    table = pd.read_csv(evaluation / "test_predictions.csv")
    wrong = table[table["label"] != table["predicted"]]
    shown = re.findall(r'<img src="data:image/jpeg[^"]*" alt="([^"]+)"', page)
    assert 1 <= len(shown) == page.count("data:image/jpeg") <= 12
    assert set(shown) <= set(wrong["id"])
    confidences = wrong.set_index("id").loc[shown, "confidence"].tolist()
    assert confidences == sorted(confidences, reverse=True)


def test_an_evaluation_of_other_data_is_refused(collect, evaluation, tmp_path):
    content = json.loads((evaluation / "evaluation.json").read_text())
    content["data"]["fingerprint"] = "0" * 64
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    done = collect("--evaluation", tmp_path)
    assert done.returncode == 1
    assert "is of another data set" in done.stderr


def test_answers_of_other_inputs_end_the_run(collect, answers, tmp_path):
    (answers / "stranger.jpg.out").write_text("{}")
    done = collect()
    assert done.returncode == 1
    assert "not in transform/index.csv (stranger.jpg)" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_history_that_is_not_there_is_named(collect, tmp_path):
    done = collect("--history", tmp_path / "absent.csv")
    assert (done.returncode, "absent.csv: no such file" in done.stderr) == (1, True)
    done = collect("--history", tmp_path)
    assert "holds no metrics.csv and no output.tar.gz" in done.stderr


def test_collect_records_data_and_settings_beside_its_results(collect, many_sites, tmp_path):
    prepared = shutil.copytree(many_sites, tmp_path / "prepared")
    write_state(prepared, tmp_path / "none")
    done = collect("--completed", tmp_path / "record", "--settings", "code=1", "0.5", prepared=prepared)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record" / "last.json").read_text())
    assert record == {"data": data_digest(prepared), "settings": "code=1 0.5"}


def test_a_collection_that_fails_leaves_no_record(collect, many_sites, tmp_path):
    prepared = shutil.copytree(many_sites, tmp_path / "prepared")
    write_state(prepared, tmp_path / "none")
    flags = ["--history", tmp_path / "nothing", "--completed", tmp_path / "record", "--settings", "code=1"]
    assert collect(*flags, prepared=prepared).returncode == 1
    assert not (tmp_path / "record").exists()
