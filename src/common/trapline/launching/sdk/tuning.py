"""A search turned into the SDK's HyperparameterTuner."""

from typing import Any

from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter
from sagemaker.session import Session
from sagemaker.tuner import HyperbandStrategyConfig, HyperparameterTuner, StrategyConfig

from trapline.launching.job_requests import TuningJob
from trapline.launching.sdk.objects import make_estimator
from trapline.launching.search_space import Between, Range
from trapline.metrics import definitions


def make_tuner(job: TuningJob, session: Session) -> HyperparameterTuner:
    """The tuner of a job, whose trainings have no hyperparameter that is searched."""
    search, options = job.search, job.training.options
    hyperband = search.strategy == "Hyperband"
    resources = HyperbandStrategyConfig(max_resource=search.epochs, min_resource=1) if hyperband else None
    return HyperparameterTuner(
        make_estimator(job.training, session),
        metric_definitions=definitions(),  # those of the estimator would be left out
        objective_metric_name=search.objective,
        objective_type="Maximize" if search.maximise else "Minimize",
        hyperparameter_ranges={item.name: _parameter(item) for item in search.ranges},
        strategy=search.strategy,
        strategy_config=StrategyConfig(resources) if resources else None,
        max_jobs=search.max_jobs,
        max_parallel_jobs=search.parallel,
        early_stopping_type="Auto" if search.early_stopping else "Off",
        random_seed=search.seed,
        tags=options.tag_list or None if options else None,
    )


def _parameter(item: Range) -> Any:
    if not isinstance(item, Between):
        return CategoricalParameter(list(item.values))
    kind = IntegerParameter if item.whole else ContinuousParameter
    return kind(*item.ends, scaling_type="Logarithmic" if item.log else "Linear")
