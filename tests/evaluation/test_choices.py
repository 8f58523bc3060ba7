import numpy as np
import pytest
from scipy.special import expit

from tests.support.report_examples import outputs
from tests.support.small_models import described
from trapline.evaluation.choices import (
    PHASE_1,
    PHASE_2,
    Choice,
    ViewLogits,
    choose,
    choose_champion,
    choose_thresholds,
)
from trapline.evaluation.measured import Clusters, Resampling

VIEWS = ("plain", "horizontal_flip", "centre_crop", "vertical_flip")
QUICK = Resampling(resamples=300, seed=0)


def seen_through(noises, seed=5):
    """Outputs in which each view is the same answer under noise of its own: averaging helps."""
    logits, labels, clusters = outputs()
    random = np.random.default_rng(seed)
    views = [logits + random.normal(0, noise, logits.shape) for noise in noises]
    stacked = np.stack(views, axis=1).astype(np.float32)
    return ViewLogits(stacked, VIEWS[: len(noises)], "logits"), labels, clusters


def test_a_view_that_helps_is_added_and_one_that_harms_is_not():
    found = choose(*seen_through([1.5, 1.5, 40]), greedy=True)
    assert found.views == ["plain", "horizontal_flip"]
    tried = {tuple(step["views"]): step["log_loss"] for step in found.steps}
    assert tried["plain", "horizontal_flip"] < tried["plain",] < tried["plain", "centre_crop"]


def test_a_view_that_says_the_same_again_is_not_worth_its_time():
    view_logits, labels, clusters = seen_through([1.0])
    twice = ViewLogits(np.repeat(view_logits.logits, 2, axis=1), VIEWS[:2], "logits")
    assert choose(twice, labels, clusters, greedy=True).views == ["plain"]


def test_without_greed_all_views_are_taken():
    found = choose(*seen_through([1.5, 40]), greedy=False)
    assert found.views == ["plain", "horizontal_flip"]
    assert len(found.steps) == 1


def test_the_first_view_alone_is_kept_for_comparison():
    view_logits, labels, clusters = seen_through([1.5, 1.5])
    found = choose(view_logits, labels, clusters, greedy=False)
    alone = choose(ViewLogits(view_logits.logits[:, :1], VIEWS[:1], "logits"), labels, clusters, greedy=False)
    assert np.array_equal(found.first_view_losses, alone.losses)
    assert np.array_equal(found.first_view_logits, alone.logits)
    assert found.losses.mean() < found.first_view_losses.mean()


def test_the_temperature_belongs_to_the_views_that_were_chosen():
    view_logits, labels, clusters = seen_through([1.0])
    sharp = ViewLogits(view_logits.logits * 3, view_logits.views, "logits")
    one, three = (choose(each, labels, clusters, greedy=True).temperature for each in (view_logits, sharp))
    assert three == pytest.approx(3 * one, rel=1e-2)


def test_averaging_of_probabilities_and_of_logits_differ_as_their_names_say():
    logits = np.array([[[4.0, 0.0], [-4.0, 0.0]]], dtype=np.float32)
    by_logits = ViewLogits(logits, VIEWS[:2], "logits").averaged(VIEWS[:2])
    moved = logits + np.array([[5.0], [0.0]], dtype=np.float32)  # which softmax does not see
    by_probabilities = ViewLogits(moved, VIEWS[:2], "probabilities").averaged(VIEWS[:2])
    assert by_logits[0] == pytest.approx([0, 0])
    assert np.exp(by_probabilities[0]) == pytest.approx([0.5, 0.5])


def choice(losses):
    logits, values = np.zeros((len(losses), 2)), np.asarray(losses)
    return Choice(["plain"], 1.0, logits, values, [], logits, values)


SITES = Clusters(np.repeat(np.arange(10), 30), [f"S{k}" for k in range(10)])
NOISE = np.random.default_rng(0).normal(0, 0.05, 300)


@pytest.mark.parametrize(
    ("gain", "phase", "reason"),
    [
        (-0.2, PHASE_2, "better beyond chance"),
        (0.0, PHASE_1, "no difference beyond chance, Phase 1 stays"),
        (0.2, PHASE_1, "worse beyond chance, Phase 1 stays"),
    ],
)
def test_phase_2_must_be_better_beyond_chance(gain, phase, reason):
    first = choice(np.ones(300))
    verdict = choose_champion(first, choice(1 + gain + NOISE), SITES, QUICK)
    assert verdict.phase == phase
    assert verdict.reason.endswith(reason)
    assert verdict.interval.low < verdict.difference < verdict.interval.high


def test_a_gain_at_a_single_site_is_not_enough():
    second = np.where(SITES.numbers == 2, 0.0, 1.001)
    verdict = choose_champion(choice(np.ones(300)), choice(second), SITES, QUICK)
    assert verdict.difference < 0
    assert verdict.phase == PHASE_1


def test_with_four_sites_phase_1_stays_however_large_the_gain():
    few = Clusters(np.repeat(np.arange(4), 75), list("abcd"))
    verdict = choose_champion(choice(np.ones(300)), choice(np.zeros(300)), few, QUICK)
    assert (verdict.phase, verdict.interval) == (PHASE_1, None)
    assert "4 sites, fewer than 5" in verdict.reason


def test_without_a_phase_2_there_is_nothing_to_compare():
    assert choose_champion(choice([1.0]), None, SITES, QUICK).phase == PHASE_1


def tuning(**configuration):
    changes = {"task": "multilabel", "temperature": 2.0, "thresholds": [0.3, 0.5, 0.8]}
    return described(**changes, configuration=configuration)


def test_thresholds_of_labels_are_those_with_the_best_f1_at_the_temperature():
    logits = np.array([[-3.0, 0, 4], [-1, 1, 3], [-2, 2, 1], [-4, 3, -1]])
    labels = np.array([[0, 0, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]], dtype=np.float32)
    found = choose_thresholds(logits, labels, 2.0, tuning())
    assert ((expit(logits / 2) >= found) == labels).all()
    assert choose_thresholds(logits, labels, 2.0, described()) is None


def test_thresholds_that_were_fixed_move_with_the_temperature_and_decide_as_before():
    logits = np.random.default_rng(0).normal(size=(50, 3)) * 3
    found = choose_thresholds(logits, np.zeros((50, 3)), 0.7, tuning(tune_thresholds=False))
    assert found != [0.3, 0.5, 0.8]
    assert ((expit(logits / 0.7) >= found) == (expit(logits / 2.0) >= [0.3, 0.5, 0.8])).all()
