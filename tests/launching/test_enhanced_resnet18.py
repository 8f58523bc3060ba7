"""The enhanced ResNet-18: what the original's two phases were, as experiments and as a recipe."""

import pytest

from launch.enhanced_resnet18 import EXPERIMENT as PHASE_1
from launch.enhanced_resnet18_phase2 import EXPERIMENT as PHASE_2
from trapline.config import make_config
from trapline.errors import UsageError
from trapline.launching.flags import read_plan
from trapline.pipeline.design import declare, read_recipe


def test_phase_1_is_that_of_the_enhanced_system():
    config = make_config(PHASE_1.hyperparameters)
    assert (config.arch, config.dropout, config.image_size) == ("enhanced_resnet18", None, 224)
    assert (config.loss, config.focal_alpha, config.focal_gamma) == ("focal", 0.25, 2.0)
    assert (config.label_smoothing, config.class_weights, config.weight_decay) == (0.1, "inverse", 1e-4)
    assert (config.augment, config.schedule, config.compile) == ("heavy", "cosine_plateau", "auto")
    assert config.patience is not None
    assert config.plateau_patience < config.patience
    assert "split" not in PHASE_1.prepare


def test_phase_2_goes_on_at_a_lower_rate_with_all_else_as_it_was():
    first, second = (make_config(phase.hyperparameters) for phase in (PHASE_1, PHASE_2))
    changed = dict(set(second.record().items()) - set(first.record().items()))
    assert changed == {"weights": "phase1", "epochs": 10, "lr": 1e-4}
    assert second.lr < first.lr


@pytest.mark.parametrize("missing", ["--pseudo", "--phase1"])
def test_phase_2_asks_for_its_two_inputs(missing):
    given = {"--prepared": "s3://b/set", "--pseudo": "s3://b/labels", "--phase1": "s3://b/model.tar.gz"}
    words = [word for flag, value in given.items() if flag != missing for word in (flag, value)]
    with pytest.raises(UsageError, match=f"{missing}: enhanced-resnet18-phase2 needs it"):
        read_plan(PHASE_2, words)


def test_the_recipe_has_both_phases_and_the_four_views():
    recipe = read_recipe("enhanced_resnet18", [], [])
    assert recipe.phase1 == make_config(PHASE_1.hyperparameters)
    assert recipe.phase2 == make_config(PHASE_2.hyperparameters)
    defaults = {item.name: item.default for item in declare(recipe, {})}
    assert (defaults["Views"], defaults["EpochsPhase2"]) == ("enhanced", 10)


def test_changes_of_the_recipe_reach_both_phases_and_their_agreement_is_checked():
    recipe = read_recipe("enhanced_resnet18", ["image_size=96", "weights=none"], ["epochs=2"])
    assert (recipe.phase1.image_size, recipe.phase2.image_size) == (96, 96)
    assert (recipe.phase1.weights, recipe.phase2.weights, recipe.phase2.epochs) == ("none", "phase1", 2)
    with pytest.raises(UsageError, match="--set-phase2 arch=resnet18: Phase 2 goes on from Phase 1"):
        read_recipe("enhanced_resnet18", [], ["arch=resnet18"])


def test_other_recipes_leave_the_views_to_validation():
    recipe = read_recipe("resnet18_baseline", [], [])
    assert recipe.views == "auto"
