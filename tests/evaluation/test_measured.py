import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.report_examples import outputs
from trapline.evaluation.measured import Clusters, Resampling, class_prior, measure, unmeasured
from trapline.evaluation.result_files import ALONE, DRAWN, POOLED, UNSEEN, claimed, not_claimed

CLASSES = list("abcdef")
QUICK = Resampling(resamples=200)
PRIOR = np.full(6, 1 / 6)


def section(clusters=None, prior=PRIOR, **options):
    logits, labels, of_sites = outputs(**options)
    return measure(logits, labels, clusters or of_sites, 1.3, CLASSES, prior, QUICK)


def test_the_section_without_a_test_part_has_the_same_keys_all_empty():
    measured, empty = section(), unmeasured("no test part")
    assert empty.keys() == measured.keys()
    assert empty["intervals"].keys() == measured["intervals"].keys()
    assert empty["calibration"].keys() == measured["calibration"].keys()
    numbers = ("log_loss", "accuracy", "macro_f1", "gain_over_prior", "prior_log_loss")
    assert [empty[name] for name in numbers] == [None] * len(numbers)
    assert (empty["available"], empty["reason"]) == (False, "no test part")


@pytest.mark.parametrize("absent", [(), (0, 5)])
def test_no_number_is_nan_and_all_is_json(absent):
    found = section(absent=absent)
    assert json.loads(json.dumps(found, allow_nan=False)).keys() == found.keys()


def test_the_baselines_stand_beside_the_log_loss():
    prior = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    found = section(prior=prior)
    _, labels, _ = outputs()
    assert found["uniform_log_loss"] == pytest.approx(np.log(6))
    assert found["prior_log_loss"] == pytest.approx(-np.log(prior[labels]).mean())
    assert found["prior_accuracy"] == pytest.approx((labels == 0).mean())
    assert found["gain_over_prior"] == pytest.approx(found["prior_log_loss"] - found["log_loss"])


def test_few_sites_give_numbers_without_intervals_and_the_reason():
    found = section(images=60, sites=4)
    assert found["log_loss"] > 0
    assert set(found["intervals"].values()) == {None}
    assert found["interval_reason"] == "4 sites, fewer than 5: no interval can be given"


def test_without_sites_images_are_resampled_and_nothing_is_said_of_sites():
    found = section(clusters=Clusters(np.arange(400), None))
    assert (found["interval_unit"], found["sites"], found["per_site"]) == ("image", None, None)
    assert found["site_balanced_log_loss"] is None
    assert found["intervals"]["site_balanced_log_loss"] is None
    assert found["intervals"]["log_loss"]["low"] < found["log_loss"]


def test_site_balanced_numbers_weigh_every_site_alike_however_many_images_it_has():
    logits = np.log([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
    large_and_small = Clusters(np.array([0, 0, 0, 1]), ["large", "small"])
    found = measure(logits, np.zeros(4, int), large_and_small, 1.0, ["a", "b"], np.array([0.5, 0.5]), QUICK)
    assert (found["accuracy"], found["site_balanced_accuracy"]) == (0.75, 0.5)
    assert found["log_loss"] == pytest.approx(-(3 * np.log(0.8) + np.log(0.4)) / 4)
    assert found["site_balanced_log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)


def test_the_class_prior_is_the_frequency_in_train_and_never_zero():
    classes = ("cat", "dog", "hog")
    all_seen = SimpleNamespace(classes=classes, counts={"train": {"cat": 6, "dog": 3, "hog": 1}})
    assert class_prior(all_seen) == pytest.approx([0.6, 0.3, 0.1])
    one_unseen = SimpleNamespace(classes=classes, counts={"train": {"cat": 6, "dog": 3}})
    assert class_prior(one_unseen) == pytest.approx(np.array([6, 3, 0.5]) / 9.5)


def report(test, validation=None, **data):
    facts = {"unseen_sites": True, "drawn": False, **data}
    champion = {"seen_validation": False}
    return {"data": facts, "champion": champion, "test": test, "validation": validation or section()}


def test_unseen_cameras_are_claimed_only_where_the_split_was_by_site():
    assert "at 20 cameras that it was not trained on" in claimed(report(section()))[0]
    by_chance = report(section(), unseen_sites=False)
    assert "cameras" not in claimed(by_chance)[0]
    assert UNSEEN in not_claimed(by_chance)
    assert UNSEEN not in not_claimed(report(section()))


def test_where_predictions_are_pooled_the_claim_says_so_and_what_single_images_lose():
    single = report(section())
    pooled = single | {"champion": {**single["champion"], "pool_sequences": True}}
    assert "(400 images, pooled over their sequences)." in claimed(pooled)[0]
    assert POOLED in not_claimed(pooled)
    chosen = "Temperature, views, pooling and champion were chosen on validation"
    assert any(sentence.startswith(chosen) for sentence in not_claimed(pooled))
    assert "pooled" not in " ".join([*claimed(single), *not_claimed(single)])


def test_without_a_test_nothing_is_claimed_and_it_says_why():
    found = report(unmeasured("the data set has no test part"))
    assert claimed(found) == []
    assert "Nothing is known of a test: the data set has no test part." in not_claimed(found)


def test_drawn_images_lone_images_and_absent_classes_are_named():
    alone = section(clusters=Clusters(np.arange(400), None), absent=(2,))
    sentences = not_claimed(report(alone, drawn=True))
    assert {DRAWN, ALONE, "Nothing is known of c: no test image shows it."} <= set(sentences)
    assert not {DRAWN, ALONE} & set(not_claimed(report(section())))
