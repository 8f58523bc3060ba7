"""What a training job begins with."""

import numpy as np
import pytest

from common.channels import Channel, TrainingPaths
from common.config import make_config
from common.data.folds import training_parts
from common.data.prepared import open_prepared
from common.errors import UsageError
from common.training.distributed import ALONE
from common.training.execution import choose_execution
from common.training.setup import setup_data, with_loaders

SETTINGS = {"image_size": 32, "batch_size": 8, "num_workers": 0, "weights": "none"}


@pytest.mark.parametrize("fold", [1, 3])
def test_a_fold_validates_and_all_others_train(small_demo, fold):
    config = make_config({**SETTINGS, "folds": 3, "fold": fold})
    prepared = open_prepared(small_demo)
    data = with_loaders(config, prepared, None, choose_execution(config, ALONE), ALONE)
    train, val = training_parts(prepared, 3, fold)
    assert (data.train.batches.rows, data.val.batches.rows) == (len(train), len(val))
    assert np.array_equal(data.labels, train.labels)
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
        setup_data(config, paths, choose_execution(config, ALONE), ALONE)
