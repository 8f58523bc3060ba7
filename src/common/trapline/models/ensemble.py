"""An averaging ensemble: one artefact that holds several models of the same classes and images.

The members' outputs are averaged as `trapline.models.build.Averaged` says, each at the temperature in its own
model.json, so that one that was calibrated (an evaluation's champion) and one that was not (its temperature
is 1) go together as they are. The ensemble's own temperature is 1 until entry_points/evaluate.py fits it.

With several labels an image the thresholds of the members, each on its own calibrated probabilities, become
one by their mean as logits: what is averaged is logits. evaluate.py tunes them anew. Test-time views are the
members' where all have the same, else the plain one.

What an ensemble reaches on validation is not known before it is evaluated: its metrics are empty, and those
of the members stand with the members.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from trapline.augmentation import PLAIN
from trapline.errors import TraplineError, UsageError
from trapline.models.artefact import Member, ModelDescription, load_model, write_artefact

ARCHITECTURE = "ensemble"
# What the members must have in common: one image becomes one input, and one output means one thing.
SHARED = (
    "task",
    "classes",
    "image_size",
    "normalisation",
    "eval_crop",
    "pixels",
    "averaging",
    "split",
    "data_fingerprint",
)


def write_ensemble(
    members: Mapping[str, Path],
    target: Path,
    code: Sequence[tuple[str, Path]],
    versions: Mapping[str, str],
) -> ModelDescription:
    """Write the artefact of the averaged `members` to the folder `target`, and return its description.

    `members`: folders with an artefact, by the names that messages call them. `code` as in `write_artefact`;
    `versions` are those of this machine. Raises UsageError for fewer than two members, for members that
    differ in what they must have in common, or that are ensembles; TraplineError for a damaged one.
    """
    if len(members) < 2:
        raise UsageError("an ensemble needs two models or more; name them all")
    tensors: dict[str, Tensor] = {}
    described: dict[str, ModelDescription] = {}
    for place, (name, folder) in enumerate(members.items()):
        state, described[name] = _state_of(name, folder)
        tensors |= {f"members.{place}.{key}": tensor for key, tensor in state.items()}
    check_alike(described)
    description = ensemble_of(list(described.values()), versions)
    write_artefact(target, description, best=tensors, last=None, code=code, pth=False)
    return description


def _state_of(name: str, folder: Path) -> tuple[Mapping[str, Tensor], ModelDescription]:
    try:
        model, description = load_model(folder)
    except TraplineError as error:
        raise TraplineError(f"{name}: {error}") from None
    if description.members:
        raise UsageError(
            f"{name}: is an ensemble itself; name its {len(description.members)} members in its place"
        )
    return model.state_dict(), description


def check_alike(members: Mapping[str, ModelDescription]) -> None:
    """Raise UsageError that names the first two members that cannot be averaged, and in what they differ."""
    (first_name, first), *others = members.items()
    for name, other in others:
        for field in SHARED:
            one, two = getattr(first, field), getattr(other, field)
            if one != two:
                raise UsageError(
                    f"{name}: its {field} is {_short(two)}, that of {first_name} {_short(one)}; the models "
                    "of an ensemble must have the same: train them on one prepared set, alike in this"
                )


def _short(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def ensemble_of(members: Sequence[ModelDescription], versions: Mapping[str, str]) -> ModelDescription:
    """The description of the ensemble of `members`, which are alike."""
    shared = {field: getattr(members[0], field) for field in SHARED}
    of_each = set(Member.model_fields) - {"output"}
    views = members[0].views if all(each.views == members[0].views for each in members) else [PLAIN]
    return ModelDescription(
        **shared,
        architecture=ARCHITECTURE,
        views=views,
        thresholds=_mean_thresholds(members),
        configuration={},
        versions=dict(versions),
        metrics={},
        best_epoch=0,
        epochs=0,
        parameters=sum(each.parameters for each in members),
        weights={"source": ARCHITECTURE},
        members=[
            Member(
                output=each.configuration.get("model_output", "logits"),
                **each.model_dump(mode="json", include=of_each),
            )
            for each in members
        ],
    )


def _mean_thresholds(members: Sequence[ModelDescription]) -> list[float] | None:
    """The mean of the members' thresholds as logits, class by class; None where no member has any."""
    if all(each.thresholds is None for each in members):
        return None
    by_class = zip(*(each.thresholds or [0.5] * len(each.classes) for each in members), strict=True)
    means = (sum(map(_logit, values)) / len(values) for values in by_class)
    return [1 / (1 + math.exp(-mean)) for mean in means]


def _logit(probability: float) -> float:
    kept = min(max(probability, 1e-6), 1 - 1e-6)  # how near a threshold may come to 0 and 1
    return math.log(kept / (1 - kept))
