"""Recipes: what the two training phases of a pipeline run with, made from an experiment of launch/."""

from dataclasses import dataclass, field, replace
from typing import Any

from trapline.config import TrainingConfig, check_pseudo_share, make_config
from trapline.errors import UsageError
from trapline.hyperparameters import parse_value
from trapline.launching.experiment import Experiment
from trapline.launching.experiments import experiment_names, find_experiment
from trapline.launching.flags import PACKED_SIDE
from trapline.launching.job_requests import PHASE1
from trapline.launching.pairs import read_pairs, refuse_flags_as_values
from trapline.launching.prepare_options import own_prepare_options
from trapline.losses import LOSSES
from trapline.views import AUTO_VIEWS

SMALL = "small"
DEFAULT = "resnet18_baseline"
# Experiments whose second phase is an experiment itself.
STAGE_2 = {"swin_stage1": "swin_stage2", "enhanced_resnet18": "enhanced_resnet18_phase2"}
# Of other experiments: on from Phase 1 for half as long at a fifth of its rate, with every fourth image of a
# batch pseudo-labelled and counting half.
SECOND_PHASE: dict[str, object] = {"weights": PHASE1, "pseudo_share": 0.25, "pseudo_weight": 0.5}
RATE_SHARE, EPOCHS_SHARE = 0.2, 0.5


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of both phases, options of prepare.py by flag, and the test-time views."""

    name: str
    phase1: TrainingConfig
    phase2: TrainingConfig
    prepare: dict[str, str] = field(default_factory=dict)
    views: str = AUTO_VIEWS


SMALL_EXPERIMENT = Experiment(
    name=SMALL,
    description="ResNet-18 at 96 px from scratch: minutes on two cores, for the demo and for trial runs.",
    hyperparameters={
        "arch": "resnet18",
        "weights": "none",
        "image_size": 96,
        "batch_size": 32,
        "epochs": 6,
        "optimizer": "adamw",
        "schedule": "onecycle",
        "lr": 2e-3,
        "augment": "crops",
        "best_metric": "val_loss",
    },
    prepare={"crop_bottom": 0.07},
)
SMALL_PHASE_2 = {"epochs": 2, "lr": 4e-4}


def read_recipe(name: str, both: list[str], second: list[str]) -> Recipe:
    """The recipe of an experiment, or `small`; `both` and `second` are KEY=VALUE changes of the phases.

    Raises UsageError for an unknown experiment or a wrong hyperparameter.
    """
    experiment = _experiment(name)
    changes, own = _changes("--set", both), _changes("--set-phase2", second)
    phase1 = make_config({**experiment.hyperparameters, **changes})
    if phase1.weights == PHASE1:
        raise UsageError(f"--recipe {name}: goes on from an earlier phase; name the experiment of Phase 1")
    if LOSSES[phase1.loss].task == "multilabel":
        raise UsageError(
            f"--recipe {name}: Phase 2 learns from pseudo-labels, which are of one label an image, and the "
            f"loss {phase1.loss} is of several; train with launch/ instead"
        )
    settings = {**_second_phase(name, phase1), **_without_weights(changes), **own}
    phase2 = make_config(settings)
    for config in (phase1, phase2):
        refuse_flags_as_values(config.record())
    check_pseudo_share(phase2)
    _check_agreement(phase1, phase2)
    prepare = own_prepare_options(experiment.prepare)
    if phase1.image_size > PACKED_SIDE:
        prepare.setdefault("short-side", str(phase1.image_size))
    return Recipe(name, phase1, phase2, prepare, experiment.views)


def with_schedule(recipe: Recipe, epochs: tuple[int, int], rates: tuple[float, float]) -> Recipe:
    """The recipe with other epochs and learning rates of its phases, checked: what parameters change."""
    configs = (recipe.phase1, recipe.phase2)
    first, second = (
        make_config({**config.record(), "epochs": count, "lr": rate})
        for config, count, rate in zip(configs, epochs, rates, strict=True)
    )
    return replace(recipe, phase1=first, phase2=second)


def _experiment(name: str) -> Experiment:
    if name == SMALL:
        return SMALL_EXPERIMENT
    known = experiment_names()
    if name not in known:
        raise UsageError(f"--recipe {name}: no such experiment; known: {SMALL}, {', '.join(known)}")
    return find_experiment(name)


def _second_phase(name: str, phase1: TrainingConfig) -> dict[str, Any]:
    if name in STAGE_2:
        return dict(_experiment(STAGE_2[name]).hyperparameters)
    shorter = {"epochs": max(1, round(phase1.epochs * EPOCHS_SHARE)), "lr": phase1.lr * RATE_SHARE}
    return {**phase1.record(), **SECOND_PHASE, **(SMALL_PHASE_2 if name == SMALL else shorter)}


def _changes(flag: str, texts: list[str]) -> dict[str, Any]:
    return {name: parse_value(name, text) for name, text in read_pairs(flag, texts).items()}


def _without_weights(changes: dict[str, Any]) -> dict[str, Any]:
    """What `--set` changes of Phase 2; where it starts from, its schedule and its rate are its own."""
    return {name: value for name, value in changes.items() if name not in ("weights", "epochs", "lr")}


def _check_agreement(phase1: TrainingConfig, phase2: TrainingConfig) -> None:
    for name in ("arch",) if phase2.weights == PHASE1 else ():
        first, second = getattr(phase1, name), getattr(phase2, name)
        if first != second:
            raise UsageError(
                f"--set-phase2 {name}={second}: Phase 2 goes on from Phase 1, whose {name} is {first}; "
                "--set-phase2 weights=imagenet starts anew"
            )
