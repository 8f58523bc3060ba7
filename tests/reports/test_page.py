import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.support.leakage import gap, predictor
from tests.support.report_examples import outputs
from trapline.data.leakage import IMAGE, PRIOR, SITE
from trapline.evaluation.measured import Clusters, Resampling, measure, unmeasured
from trapline.evaluation.result_files import claimed, not_claimed
from trapline.evaluation.sequences import by_sequence, without_sequences
from trapline.reports import collection
from trapline.reports.answer_tables import Answer, Submission
from trapline.reports.collection import write_page
from trapline.reports.figures import class_figure, confusion_figure, site_figure

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


def mistakes(*rows):
    return pd.DataFrame(rows, columns=["id", "site", "label", "predicted", "confidence", "jpeg"])


def content(**changes):
    picture = cv2.imencode(".jpg", np.full((20, 30, 3), 90, dtype=np.uint8))[1].tobytes()
    fields = {
        "evaluation": evaluation(),
        "histories": [("Phase 1", HISTORY)],
        "mistakes": mistakes(("ZJ1", NASTY, "cat", NASTY, 0.98, picture)),
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
    return fields | changes


@pytest.fixture
def page(tmp_path):
    def write(**changes):
        write_page(tmp_path / "report.html", **content(**changes))
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


@pytest.fixture(autouse=True)
def without_pictures(request, monkeypatch):
    """Drawing takes most of a page's time; a test that wants its figures takes `with_pictures`."""
    if "with_pictures" in request.fixturenames:
        return
    for name in ("class", "confusion", "reliability", "site"):
        monkeypatch.setattr(collection, f"{name}_figure", lambda *_: b"png")
    monkeypatch.setattr(collection, "curves_png", lambda *_, **__: b"png")


@pytest.fixture
def with_pictures():
    """The page of the test has its figures."""


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(page, with_pictures):
    text = page()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]{0,30})', text)
    assert len(sources) >= 6
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


class _Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its style."""

    def __init__(self, text):
        super().__init__()
        self.found, self.style, self.open = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.open = tag

    def handle_data(self, data):
        self.style += data if self.open == "style" else ""
        self.open = ""


HOSTILE = [
    NASTY,
    '" onerror=alert(1) x="',
    "' onmouseover='alert(1)",
    "</style><style>*{display:none}</style>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "--><!--",
    "</title></head><meta http-equiv=refresh content='0;url=https://evil.example'>",
    "\x1b]0;x\x07\u202e\x00",
]


def test_a_strict_policy_comes_before_all_that_it_rules_and_fits_the_style(page):
    elements = _Elements(page())
    kinds = [tag for tag, _ in elements.found]
    policies = [
        (place, attributes["content"])
        for place, (_, attributes) in enumerate(elements.found)
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    ((place, policy),) = policies
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    digest = base64.b64encode(hashlib.sha256(elements.style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert place < min(kinds.index("style"), kinds.index("title"), kinds.index("img"))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_strangers_becomes_an_element_or_an_attribute(page, text):
    one, report = (0.9, 0.02, 0.02, 0.02, 0.02, 0.02), evaluation()
    report["phases"]["phase1"] = {**PHASE, "training_job": text, "architecture": text}
    report["champion"] = {**report["champion"], "training_job": text, "reason": text}
    for part in ("test", "validation"):
        rows, sites = report[part]["per_class"], report[part]["per_site"]
        report[part] |= {
            "per_class": [{**rows[0], "class": text}, *rows[1:]],
            "per_site": [{**sites[0], "site": text}, *sites[1:]],
        }
    changed = {
        "evaluation": report,
        "histories": [(text, HISTORY)],
        "mistakes": mistakes((text, text, text, text, 0.98, b"jpeg")),
        "answers": [Answer(text, "failed", text, detail=text), Answer("A", "ok", "", text, one)],
        "quarantine": [(text, text, text)],
        "notes": [text],
        "results": [(text, text)],
    }
    plain = {name: _without(value, text) for name, value in changed.items()}
    assert _skeleton(page(**changed)) == _skeleton(page(**plain))


def _without(value, text):
    """The same with a harmless word in the place of `text`, wherever it stands."""
    if isinstance(value, str):
        return value.replace(text, "harmless")
    if isinstance(value, dict):
        return {name: _without(item, text) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without(item, text) for item in value)
    if dataclasses.is_dataclass(value):
        fields = {
            field.name: _without(getattr(value, field.name), text) for field in dataclasses.fields(value)
        }
        return type(value)(**fields)
    return value


def _skeleton(text):
    """The elements with the names of their attributes."""
    return [(tag, sorted(attributes)) for tag, attributes in _Elements(text).found]


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


def with_sequences(chosen=True, **changes):
    """An evaluation whose test part has sequences, and whose pooling was decided."""
    logits, labels, clusters = outputs()
    counted = by_sequence(
        logits, labels, np.arange(len(labels)) // 4, clusters, 1.25, None, Resampling(resamples=200), "test"
    )
    named = evaluation(**changes)
    for part in ("test", "validation"):
        empty = without_sequences("no test part", "multiclass")
        named[part] |= {"by_sequence": counted if named[part]["available"] else empty}
    return named | {"pooling": {"chosen": chosen, "reason": "log loss -0.0400: better beyond chance"}}


def test_the_numbers_by_sequence_stand_beside_their_intervals_with_what_pooling_helps(page):
    named = with_sequences()
    text, test = page(evaluation=named), named["test"]["by_sequence"]
    found = test["intervals"]["log_loss"]
    assert "<h2>By sequence</h2>" in text
    assert "Predictions are pooled over sequences: log loss -0.0400: better beyond chance." in text
    assert f"<td>{test['log_loss']:.3f}</td>" in text
    assert f"{found['low']:.3f} to {found['high']:.3f}" in text
    assert f"<td>sequences of two images or more</td>\n<td>{test['sequences']}</td>" in text
    assert "Predictions are not pooled over sequences" in page(evaluation=with_sequences(chosen=False))


def test_without_a_test_part_the_numbers_by_sequence_are_those_of_validation(page):
    text = page(evaluation=with_sequences(test_part=False), mistakes=None, submission=None)
    assert "<td>sequences of two images or more</td>\n<td>100</td><td></td></tr>" in text


def test_without_sequences_the_reason_stands_alone_and_before_it_was_kept_nothing_does(
    page, without_pictures
):
    named = with_sequences(chosen=False)
    for part in ("test", "validation"):
        named[part]["by_sequence"] = without_sequences("no sequence", "multiclass")
    text = page(evaluation=named)
    assert "Predictions are not pooled over sequences" in text
    assert "sequences of two images or more" not in text
    assert "By sequence" not in page()


def test_what_was_pooled_of_the_answers_is_said_beside_them(page):
    assert "<p>Pooled over sequences: 5 inputs.</p>" in page(pooled="pooled over sequences: 5 inputs")


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


def test_what_a_random_split_would_flatter_has_a_row_for_each_predictor_and_the_widest_in_words(page):
    predictors = {
        PRIOR: predictor(0.3, 0.29),
        SITE: predictor(0.45, 0.275),
        IMAGE: predictor(0.5, 0.25, f"Knowing only the look {NASTY}."),
    }
    text = page(leakage=gap(predictors))
    assert "What a random split would flatter" in text
    assert "Knowing only the look &lt;script&gt;" in text
    for words, figures in (
        ("how frequent the classes are", (0.3, 0.29, 0.01)),
        ("which camera took an image", (0.45, 0.275, 0.175)),
        ("the colours and the coarse brightness of an image", (0.5, 0.25, 0.25)),
    ):
        cells = "</td><td>".join(f"{figure:.3f}" for figure in figures[:2])
        assert re.search(rf"<td>{words}</td>\s*<td>{cells}</td>\s*<td>{figures[2]:.3f}</td>", text)


def test_a_predictor_that_was_left_out_stands_there_with_the_reason(page):
    left_out = {IMAGE: "no features of the images were given"}
    text = page(leakage=gap({SITE: predictor(0.45, 0.275)}, left_out))
    assert "no features of the images were given" in text
    assert "What a random split would flatter" not in page()


def test_without_inputs_histories_and_errors_there_is_still_a_page(page, with_pictures):
    text = page(answers=[], histories=[], mistakes=mistakes(), quarantine=[], notes=[])
    assert "No test image was classified wrongly." in text
    assert "0 inputs" in text


def test_names_that_no_font_has_are_explained_once_with_their_rows(page, with_pictures):
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
