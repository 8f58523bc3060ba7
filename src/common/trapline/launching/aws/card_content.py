"""A model card: what a registered model is for, how good it is, and what must not be read into that.

The JSON is of the model-package kind of SageMaker's model cards, whose overview has no text of its own.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Evaluation = Mapping[str, Any]  # the content of evaluation.json

SHORT, LONG = 1024, 2048  # characters that SageMaker takes: of observations and notes; of the other texts
# A section has those of its task: weighted F1 is of one label an image, micro F1 of several.
MULTICLASS_METRICS = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "top3_accuracy",
    "site_balanced_accuracy",
    "micro_f1",
    "map",
)
BASELINES = ("uniform_log_loss", "prior_log_loss", "prior_accuracy")
PARTS = {
    "test": "read once, after every choice",
    "validation": "temperature, views and champion were chosen on it, which flatters it",
}
PURPOSE = "Classify camera-trap photographs, or the images of another set."
USES = (
    "Sorting images before a person looks at them: probabilities, a label, and a mark for those that need "
    "a look. Not for counts or absences without that look, and not for decisions about single animals."
)
FACTORS = (
    "Cameras, seasons, regions and species that the training images do not show; night frames in infrared; "
    "empty frames; burned-in captions."
)
NOT_YET = (
    "The numbers stand in the evaluation's evaluation.json; `python launch/model_card.py` writes them into "
    "this card. Until then it claims nothing about unseen cameras."
)


def first_card(recipe: str, code: str) -> dict[str, Any]:
    """The card of a model that has just been registered, when nobody has read its evaluation."""
    trained = f"Trained with the recipe {recipe}, code {code}, on the images of the execution that made it."
    return {
        "intended_uses": _intended_uses(),
        "training_details": {"training_observations": trained[:SHORT]},
        "additional_information": {"caveats_and_recommendations": NOT_YET},
    }


def card(evaluation: Evaluation, job_arn: str | None) -> dict[str, Any]:
    """The card of an evaluated model. `job_arn`: the training job that made it, where it was one.

    Only what the evaluation claims is claimed; accuracy at unseen cameras only after a split by site.
    """
    return {
        "intended_uses": _intended_uses(),
        "training_details": _training(evaluation, job_arn),
        "evaluation_details": [_section(evaluation, name) for name in PARTS if evaluation[name]["available"]],
        "additional_information": {
            "caveats_and_recommendations": fitting(evaluation["not_claimed"], LONG),
            "custom_details": properties(evaluation),
        },
    }


def properties(evaluation: Evaluation) -> dict[str, str]:
    """What a registry can be searched by: short texts by name, all of letters, digits and plain signs."""
    data, champion = evaluation["data"], evaluation["champion"]
    unseen = "measured" if data["unseen_sites"] and evaluation["test"]["available"] else "not measured"
    known = {
        "data-fingerprint": data["fingerprint"],
        "split": data["split"],
        "unseen-cameras": unseen,
        "champion": champion["phase"],
        "champion-training-job": champion["training_job"],
        "architecture": champion["architecture"],
        "test-log-loss": _figure(evaluation["test"]["log_loss"]),
        "test-accuracy": _figure(evaluation["test"]["accuracy"]),
    }
    return {name: str(value) for name, value in known.items() if value}


def fitting(sentences: Sequence[str], length: int) -> str:
    """As many of the sentences as fit, whole, joined; says where one is left out."""
    rest = " More stands in evaluation.json."
    whole = " ".join(sentences)
    if len(whole) <= length:
        return whole
    kept: list[str] = []
    for sentence in sentences:
        if len(" ".join([*kept, sentence])) + len(rest) > length:
            break
        kept.append(sentence)
    return (" ".join(kept) + rest).strip()


def content(described: Mapping[str, Any]) -> str:
    """The card as SageMaker takes it: JSON in a string. Raises ValueError for NaN and infinity."""
    return json.dumps(described, ensure_ascii=False, allow_nan=False)


def _intended_uses() -> dict[str, str]:
    return {
        "purpose_of_model": PURPOSE,
        "intended_uses": USES,
        "factors_affecting_model_efficiency": FACTORS,
        "risk_rating": "Unknown",
        "explanations_for_risk_rating": "Whoever uses the model rates it, and writes the reason here.",
    }


def _training(evaluation: Evaluation, job_arn: str | None) -> dict[str, Any]:
    champion = evaluation["champion"]
    said = [
        f"Champion: {champion['phase']}, {champion['architecture']}; {champion['reason'].rstrip('.')}.",
        f"Data {evaluation['data']['fingerprint']}, split by {evaluation['data']['split']}.",
        f"Classes: {', '.join(evaluation['classes'])}.",
    ]
    job = {"training_job_details": {"training_arn": job_arn}} if job_arn else {}
    return {
        "objective_function": {"function": {"function": "Minimize", "facet": "Loss"}},
        "training_observations": fitting(said, SHORT),
        **job,
    }


def _section(evaluation: Evaluation, name: str) -> dict[str, Any]:
    section, level = evaluation[name], evaluation["bootstrap"]["confidence"]
    sites = f" of {section['sites']} cameras" if section["sites"] else ""
    observed = [f"{name.capitalize()} part: {section['images']} images{sites}; {PARTS[name]}."]
    claims = evaluation["claimed"] if name == "test" else []
    return {
        "name": name,
        "evaluation_observation": fitting([*observed, *claims], LONG),
        "metadata": {"data-fingerprint": evaluation["data"]["fingerprint"]},
        "metric_groups": [
            {"name": "champion", "metric_data": _numbers(section, MULTICLASS_METRICS, level)},
            {"name": "without-looking", "metric_data": _numbers(section, BASELINES, level)},
            {"name": "recall-per-class", "metric_data": _recalls(section)},
        ],
    }


def _numbers(section: Mapping[str, Any], names: Sequence[str], level: float) -> list[dict[str, Any]]:
    found = [(name, section[name]) for name in names if _finite(section.get(name))]
    return [
        {"name": name, "type": "number", "value": value, **_interval(section, name, level)}
        for name, value in found
    ]


def _interval(section: Mapping[str, Any], name: str, level: float) -> dict[str, str]:
    interval = (section["intervals"] or {}).get(name)
    if not interval:
        return {}
    unit = section["interval_unit"]
    return {"notes": f"{level:.0%} interval over {unit}s: {interval['low']:.4f} to {interval['high']:.4f}"}


def _recalls(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [row for row in section["per_class"] or [] if _finite(row["recall"])]
    return [
        {
            "name": row["class"],
            "type": "number",
            "value": row["recall"],
            "notes": f"{row['support']} images",
        }
        for row in rows
    ]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _figure(value: Any) -> str | None:
    return f"{value:.4f}" if _finite(value) else None
