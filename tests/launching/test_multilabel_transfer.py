"""The experiment of multi-label transfer learning: what the original system did."""

import pytest

from launch.multilabel_transfer import EXPERIMENT
from trapline.config import make_config
from trapline.errors import UsageError
from trapline.launching.checkout import recipe_names
from trapline.pipeline.design import read_recipe

MODELS = [
    "googlenet", "resnet50", "resnext50_32x4d", "shufflenet_v2_x2_0", "efficientnet_v2_s", "regnet_x_3_2gf",
]  # fmt: skip


def test_the_settings_are_those_of_the_multi_label_system():
    config = make_config(EXPERIMENT.hyperparameters)
    assert (config.arch, config.weights, config.loss, config.optimizer) == (
        "resnet50",
        "imagenet",
        "bce",
        "adam",
    )
    assert (config.augment, config.image_size, config.threshold) == ("multilabel", 224, 0.5)
    assert (config.schedule, config.plateau_factor, config.plateau_patience) == ("plateau", 0.1, 3)
    assert (config.best_metric, config.patience) == ("val_macro_f1", 5)
    assert config.score_test
    assert config.tune_thresholds
    assert config.min_delta > 0


def test_the_docstring_states_commands_models_and_the_result_that_was_asked_for():
    said = " ".join(EXPERIMENT.description.split())
    assert "python launch/multilabel_transfer.py --data s3://BUCKET/PREFIX --role ROLE" in said
    assert "python launch/multilabel_transfer.py --backend process --data DIR" in said
    assert all(model in said for model in MODELS)
    assert "micro-F1 of at least 0.85" in said


@pytest.mark.parametrize("changes", [{"optimizer": "adadelta"}, {"optimizer": "sgd"}, {"validate_every": 3}])
def test_its_variations_are_one_setting_each(changes):
    assert make_config({**EXPERIMENT.hyperparameters, **changes})


def test_a_pipeline_with_pseudo_labels_refuses_it():
    with pytest.raises(UsageError, match="--recipe multilabel_transfer: Phase 2 learns from pseudo-labels"):
        read_recipe("multilabel_transfer", [], [])
    assert "multilabel_transfer" not in recipe_names()
