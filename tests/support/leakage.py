"""Leakage gaps for tests, of figures that are given."""

from trapline.data.leakage import SITE, LeakageGap, PredictorGap, Score


def predictor(random, unseen, words="Knowing only the camera, a guess is right."):
    """A predictor with these accuracies on a random split and at unseen cameras."""
    return PredictorGap(
        random=Score(accuracy=random, log_loss=1.25, images=40),
        site=Score(accuracy=unseen, log_loss=1.75, images=30),
        accuracy_gap=random - unseen,
        log_loss_gap=0.5,
        explanation=words,
    )


def gap(predictors, left_out=None):
    """The gap of `predictors`, name -> PredictorGap; the predictor of the camera must be among them."""
    site = predictors[SITE]
    return LeakageGap(
        **{f"random_{name}": figure for name, figure in site.random},
        **{f"site_{name}": figure for name, figure in site.site},
        uniform_log_loss=2.0,
        accuracy_gap=site.accuracy_gap,
        log_loss_gap=site.log_loss_gap,
        explanation=site.explanation,
        predictors=predictors,
        left_out=left_out or {},
    )
