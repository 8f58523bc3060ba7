"""What a training job begins with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trapline.config import make_config
from trapline.data import loader
from trapline.data.loader import images_of
from trapline.data.parts import training_parts
from trapline.data.prepared import open_prepared
from trapline.errors import UsageError
from trapline.job_contract import Channel, TrainingPaths
from trapline.training.data import labels_of, plan_of, rebatched, setup_data, with_loaders
from trapline.training.distributed import ALONE
from trapline.training.execution import BatchPlan, training_device
from trapline.training.optimisation import make_optimizer, make_schedule

SETTINGS = {"image_size": 32, "batch_size": 8, "num_workers": 0, "weights": "none"}


@pytest.mark.parametrize("fold", [1, 3])
def test_a_fold_validates_and_all_others_train(small_demo, fold):
    config = make_config({**SETTINGS, "folds": 3, "fold": fold})
    prepared = open_prepared(small_demo)
    data = with_loaders(config, prepared, None, training_device(ALONE), ALONE)
    train, val = training_parts(prepared, 3, fold)
    assert (data.train.batches.rows, data.val.batches.rows) == (len(train), len(val))
    assert np.array_equal(labels_of(prepared, data.labelled), train.labels)
    (first, *_) = data.val.epoch(1)
    assert first.labels.tolist() == val.labels[:8].tolist()


def test_pseudo_labels_are_refused_where_their_teacher_has_seen_the_fold(small_demo, tmp_path):
    config = make_config({**SETTINGS, "folds": 3, "fold": 1})
    paths = TrainingPaths(
        prepared=small_demo,
        output=tmp_path,
        model=tmp_path,
        checkpoints=tmp_path,
        pseudo=Channel(tmp_path, None),
    )
    with pytest.raises(UsageError, match="folds: not with pseudo-labels"):
        setup_data(config, paths, training_device(ALONE), ALONE)


@pytest.mark.parametrize("in_memory", [True, False])
def test_other_batches_take_what_is_in_memory_and_decode_nothing_again(small_demo, monkeypatch, in_memory):
    config = make_config({**SETTINGS, "in_memory": in_memory, "score_test": True, "augment": "shift_flip"})
    device = torch.device("cpu")
    data = with_loaders(config, open_prepared(small_demo), None, device, ALONE)
    optimizer = make_optimizer(config, torch.nn.Linear(2, 2), frozenset())
    learner = SimpleNamespace(
        config=config,
        execution=SimpleNamespace(device=device),
        ranks=ALONE,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, 1),
    )
    monkeypatch.setattr(loader, "decoded", None)
    monkeypatch.setattr(loader, "_check_memory", None)
    again = rebatched(learner, data, BatchPlan(4, 2))
    assert plan_of(learner.config) == BatchPlan(4, 2)
    for one, other in ((data.train, again.train), (data.val, again.val), (data.test, again.test)):
        assert images_of(other) is images_of(one)
        assert (images_of(one) is not None) is in_memory
        assert max(other.batches.sizes) in (4, 5)
        assert sum(len(batch.labels) for batch in other.epoch(1)) == one.batches.rows
