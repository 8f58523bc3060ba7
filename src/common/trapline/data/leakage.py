"""The leakage gap as a prepared set holds it: what guesses gain on a random split, where cameras are known.

`trapline.preparation.leakage` measures it. `dataset.json` holds it as `leakage`, for training and the report,
and `summary.json` as `leakage_gap`, for people.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ValidationError

from trapline.names import Kind, fault
from trapline.storage import read_json

SUMMARY = "summary.json"
PRIOR, SITE, IMAGE = "class_prior", "site", "image"
# What each of the predictors knows, in words.
KNOWN = {
    PRIOR: "how frequent the classes are",
    SITE: "which camera took an image",
    IMAGE: "the colours and the coarse brightness of an image",
}


def _check_sentence(text: str) -> str:
    if problem := fault(text, Kind.CLASS):  # it stands in logs, as classes do
        raise ValueError(f"the sentence {problem}")
    return text


Sentence = Annotated[str, AfterValidator(_check_sentence)]


class Score(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Of guesses about `images` that were held out: the share that is right, and the log loss in nats."""

    accuracy: float
    log_loss: float
    images: int


class PredictorGap(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """One predictor under both splits, each fitted on the images that are not held out.

    `random`: the held-out part of a random split, whose cameras are known. `site`: cameras that the predictor
    has not seen. The gaps are positive where the random split flatters. `explanation`: one sentence.
    """

    random: Score
    site: Score
    accuracy_gap: float
    log_loss_gap: float
    explanation: Sentence


class LeakageGap(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What a model can gain on a random split by recognising the camera.

    The first fields are the predictor that knows the camera and nothing of the image, as in `PredictorGap`.
    `predictors`: each predictor by its name, a key of KNOWN; empty in sets of before it was kept. `left_out`:
    why a predictor is not among them.
    """

    random_accuracy: float
    random_log_loss: float
    random_images: int
    site_accuracy: float
    site_log_loss: float
    site_images: int
    uniform_log_loss: float
    accuracy_gap: float
    log_loss_gap: float
    explanation: Sentence
    predictors: dict[str, PredictorGap] = {}
    left_out: dict[str, str] = {}

    @property
    def by_predictor(self) -> dict[str, PredictorGap]:
        """Every predictor that was measured, at least the one that knows the camera."""
        return self.predictors or {
            SITE: PredictorGap(
                random=Score(
                    accuracy=self.random_accuracy, log_loss=self.random_log_loss, images=self.random_images
                ),
                site=Score(accuracy=self.site_accuracy, log_loss=self.site_log_loss, images=self.site_images),
                accuracy_gap=self.accuracy_gap,
                log_loss_gap=self.log_loss_gap,
                explanation=self.explanation,
            )
        }

    @property
    def widest(self) -> PredictorGap:
        """The predictor that a random split flatters most, by accuracy."""
        return max(self.by_predictor.values(), key=lambda predictor: predictor.accuracy_gap)


def summarised_gap(folder: Path) -> LeakageGap | None:
    """The leakage gap in the summary.json of a prepared set: of one whose dataset.json does not hold it yet.

    None where there is no such file, or no gap of this form in it. Raises TraplineError where it is no JSON.
    """
    path = folder / SUMMARY
    content = read_json(path) if path.is_file() else None
    if not isinstance(content, dict) or content.get("leakage_gap") is None:
        return None
    try:
        return LeakageGap.model_validate(content["leakage_gap"])
    except ValidationError:
        return None
