import re

import cv2
import numpy as np
import pytest

from common.reports.answers import Answer
from common.reports.bootstrap import Resampling
from common.reports.claims import claimed, not_claimed
from common.reports.clusters import Clusters
from common.reports.figures import class_figure, confusion_figure, site_figure
from common.reports.measured import measure, unmeasured
from common.reports.page import PageContent, write_page
from common.reports.pictures import Mistake
from common.reports.submission import Submission
from tests.common.reports.examples import outputs

NASTY = "<script>alert('x')</script> $a_b$ & \"é\""
CLASSES = ["cat", "dog", NASTY, "hog", "elk", "owl"]
PHASE = {
    "architecture": "resnet18",
    "image_size": 96,
    "averaging": "logits",
    "training_job": NASTY,
    "views": ["plain"],
    "temperature": 1.25,
    "temperature_at_bound": False,
    "view_selection": [],
    "cross_fitted_log_loss": 1.2345,
}
HISTORY = [{"epoch": 1.0, "val_loss": 2.0, "train_loss": 2.1}, {"epoch": 2.0, "val_loss": 1.5}]


def evaluation(test_part=True, sites=True):
    logits, labels, clusters = outputs()
    clusters = clusters if sites else Clusters(np.arange(len(labels)), None)
    prior, quick = np.full(6, 1 / 6), Resampling(resamples=200)
    measured = measure(logits, labels, clusters, 1.25, CLASSES, prior, quick)
    report = {
        "classes": CLASSES,
        "data": {"fingerprint": "abcdef" * 8, "split": "site", "unseen_sites": sites, "drawn": False},
        "champion": {"phase": "phase1", "reason": "there is none", **PHASE},
        "comparison": {},
        "phases": {"phase1": PHASE, "phase2": None},
        "bootstrap": {"confidence": 0.95},
        "test": measured if test_part else unmeasured("the data set has no test part"),
        "validation": measured,
    }
    return report | {"claimed": claimed(report), "not_claimed": not_claimed(report)}


def content(**changes):
    picture = cv2.imencode(".jpg", np.full((20, 30, 3), 90, dtype=np.uint8))[1].tobytes()
    fields = {
        "evaluation": evaluation(),
        "histories": [("Phase 1", HISTORY)],
        "mistakes": [Mistake("ZJ1", NASTY, "cat", NASTY, 0.98, picture)],
        "answers": [
            Answer("A", "ok", "", "cat", (0.9, 0.1, 0, 0, 0, 0)),
            Answer("B", "ok", "", "dog", (0.4, 0.6, 0, 0, 0, 0)),
            Answer(NASTY, "failed", "truncated", detail="half a file"),
        ],
        "review_below": 0.7,
        "submission": Submission(3, 1, 0),
        "quarantine": [("ZJ9", "empty", "the file has no bytes")],
        "notes": ["2 sites of val or test also have unlabelled images."],
    }
    return PageContent(**(fields | changes))


@pytest.fixture
def page(tmp_path):
    def write(**changes):
        write_page(tmp_path / "report.html", content(**changes))
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(page):
    text = page()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]{0,30})', text)
    assert len(sources) >= 6
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_numbers_stand_beside_their_intervals_and_baselines(page):
    text, test = page(), evaluation()["test"]
    found = test["intervals"]["log_loss"]
    assert f"<td>{test['log_loss']:.3f}</td>" in text
    assert f"{found['low']:.3f} to {found['high']:.3f}" in text
    assert f"<td>{np.log(6):.3f}</td>" in text


def test_the_heading_names_the_champion_and_its_job(page):
    named = evaluation() | {"champion": evaluation()["champion"] | {"training_job": "night-run"}}
    heading = re.search(r"<p[^>]*>[^<]*data set abcdef.*?</p>", page(evaluation=named), re.DOTALL)[0]
    assert "champion Phase 1 from night-run.</p>" in " ".join(heading.split())


def test_what_is_claimed_and_what_is_not_comes_with_the_notes(page):
    text = page()
    assert "at 20 cameras that it was not trained on" in text
    assert "2 sites of val or test also have unlabelled images." in text


def test_what_was_measured_is_shown_where_there_is_any(page):
    assert "speed-up" not in page()
    assert '<td>speed-up</td><td class="left">2.00 times &lt;b&gt;</td>' in page(
        results=[("speed-up", "2.00 times <b>")]
    )


def test_failed_inputs_quarantine_and_review_are_listed(page):
    text = page()
    assert "Inputs that failed: 1" in text
    assert "half a file" in text
    assert "Images in quarantine: 1" in text
    assert re.search(r"3 inputs, .* 2 predicted,\s+1 failed; 2 need a person", text)
    assert re.search(r"submission.csv: 3 rows, .*\s+1 of them hold the class prior", text)


def test_long_lists_are_cut_and_say_so(page):
    text = page(quarantine=[(f"Z{number}", "empty", "") for number in range(250)])
    assert "Images in quarantine: 250" in text
    assert "and 50 more." in text
    assert "<td>Z200</td>" not in text


def test_without_a_test_part_it_says_so_and_shows_validation(page):
    text = page(evaluation=evaluation(test_part=False), mistakes=None, submission=None)
    assert "the data set has no test part." in text
    assert "By class, validation" in text
    assert "Most confident errors" not in text
    assert "No submission format was given" in text


def test_without_sites_there_is_no_table_of_sites(page):
    text = page(evaluation=evaluation(sites=False))
    assert "By site" not in text
    assert "Nothing can be claimed about unseen cameras" in text


def test_without_inputs_histories_and_errors_there_is_still_a_page(page):
    text = page(answers=[], histories=[], mistakes=[], quarantine=[], notes=[])
    assert "No test image was classified wrongly." in text
    assert "0 inputs" in text


def test_names_that_no_font_has_are_explained_once_with_their_rows(page):
    assert "Figures number some names" not in page()
    named = evaluation()
    foxes = ["cat", "\ue001", "dog", "hog", "elk", "owl"]
    named["classes"] = foxes
    for row, name in zip(named["test"]["per_class"], foxes, strict=True):
        row["class"] = name
    named["test"]["per_site"][2]["site"] = "\ue002"
    text = page(evaluation=named)
    assert text.count("Figures number some names") == 1
    assert r"class 2 is &#39;\ue001&#39;; site 3 is &#39;\ue002&#39;. The numbers count the rows" in text


def test_figures_are_pictures_also_for_many_classes_and_none_predicted():
    many = [f"class number {number} with a long name" for number in range(60)]
    figures = [
        confusion_figure(np.eye(60, dtype=int).tolist(), many),
        confusion_figure([[0]], ["$only_$"]),
        class_figure([{"class": "$x_$", "support": 0, "f1": None}]),
        site_figure([{"site": f"$S{k}", "images": k + 1, "log_loss": k / 9} for k in range(99)], 1.0),
    ]
    for figure in figures:
        picture = cv2.imdecode(np.frombuffer(figure, np.uint8), cv2.IMREAD_COLOR)
        assert min(picture.shape[:2]) > 50
