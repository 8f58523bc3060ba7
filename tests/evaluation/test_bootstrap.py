import time

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.support.report_examples import outputs, predictions
from trapline.evaluation.measured import (
    MIN_CLUSTERS,
    Resampling,
    metric_intervals,
    paired_difference,
    resampled,
)
from trapline.scoring.scores import METRICS, cluster_sums, metrics_of, scored

QUICK = Resampling(resamples=300, seed=1)


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    sums = cluster_sums(predictions())
    assert metric_intervals(sums, METRICS, QUICK) == metric_intervals(sums, METRICS, QUICK)
    other = metric_intervals(sums, METRICS, Resampling(resamples=300, seed=2))
    assert metric_intervals(sums, METRICS, QUICK) != other


def test_every_interval_holds_the_number_itself():
    sums = cluster_sums(predictions())
    numbers = metrics_of(sums.sum(axis=0))
    intervals = metric_intervals(sums, METRICS, Resampling())
    assert all(intervals[name].low < numbers[name] < intervals[name].high for name in METRICS)


def test_a_resample_is_scored_as_if_its_sites_images_were_put_together():
    logits, labels, clusters = outputs(images=120, sites=8)
    random = np.random.default_rng(QUICK.seed)
    drawn = random.integers(0, 8, (QUICK.resamples, 8))
    found = scored(logits, labels, clusters.numbers)
    block = next(resampled(cluster_sums(found), QUICK))
    for place in range(5):
        rows = np.concatenate([np.flatnonzero(clusters.numbers == site) for site in drawn[place]])
        numbers = metrics_of(block[place])
        assert numbers["log_loss"] == pytest.approx(found.losses[rows].mean())
        truth, predicted = labels[rows], found.predicted[rows]
        expected = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
        assert numbers["macro_f1"] == pytest.approx(expected)


def test_sites_promise_less_than_images():
    logits, labels, clusters = outputs()
    by_site = cluster_sums(scored(logits, labels, clusters.numbers))
    by_image = cluster_sums(scored(logits, labels, np.arange(len(labels))))
    wide, narrow = (metric_intervals(sums, ["accuracy"], QUICK)["accuracy"] for sums in (by_site, by_image))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_about_95_of_100_intervals_hold_the_truth():
    held = 0
    for seed in range(100):
        site_means = np.random.default_rng(seed).normal(0.3, 1, 40)
        found = paired_difference(
            np.zeros(400), np.repeat(site_means, 10), np.repeat(np.arange(40), 10), QUICK
        )
        held += found.low < 0.3 < found.high
    assert 87 <= held <= 99


def test_fewer_than_five_sites_give_no_interval():
    sums = cluster_sums(predictions(images=80, sites=MIN_CLUSTERS))
    assert metric_intervals(sums, METRICS, QUICK) is not None
    assert metric_intervals(sums[:-1], METRICS, QUICK) is None
    assert paired_difference(np.zeros(8), np.ones(8), np.arange(8) // 2, QUICK) is None


def test_what_makes_a_site_hard_for_both_models_cancels():
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), 20)
    hard = np.repeat(random.normal(1, 3, 12), 20)
    found = paired_difference(hard, hard - 0.1 + random.normal(0, 0.05, 240), clusters, QUICK)
    assert -0.12 < found.low < found.high < -0.08


def test_one_site_alone_does_not_make_a_difference():
    clusters = np.repeat(np.arange(12), 20)
    better_at_one = np.where(clusters == 4, -2.0, 0.0)
    found = paired_difference(np.zeros(240), better_at_one, clusters, QUICK)
    assert found.low <= 0 <= found.high


@pytest.mark.parametrize("sites", [200, 20_000])
def test_2000_resamples_of_20000_images_take_less_than_2_seconds(sites):
    sums = cluster_sums(predictions(images=20_000, classes=8, sites=sites))
    started = time.process_time()
    assert metric_intervals(sums, METRICS, Resampling()) is not None
    assert time.process_time() - started < 2
