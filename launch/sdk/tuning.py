"""A search turned into the SDK's HyperparameterTuner."""

from typing import TYPE_CHECKING, Any

from common.metrics import definitions
from launch.jobs import TrainingJob
from launch.sdk.objects import make_estimator
from launch.tuning.ranges import Between, Range
from launch.tuning.search import Search

if TYPE_CHECKING:
    from sagemaker.session import Session
    from sagemaker.tuner import HyperparameterTuner


def make_tuner(job: TrainingJob, search: Search, session: "Session") -> "HyperparameterTuner":
    """The tuner of a search whose jobs are like `job`, which has no hyperparameter that is searched."""
    from sagemaker.tuner import HyperbandStrategyConfig, HyperparameterTuner, StrategyConfig

    hyperband = search.strategy == "Hyperband"
    resources = HyperbandStrategyConfig(max_resource=search.epochs, min_resource=1) if hyperband else None
    return HyperparameterTuner(
        make_estimator(job, session),
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
        tags=job.options.tag_list or None if job.options else None,
    )


def _parameter(item: Range) -> Any:
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    if not isinstance(item, Between):
        return CategoricalParameter(list(item.values))
    kind = IntegerParameter if item.whole else ContinuousParameter
    return kind(*item.ends, scaling_type="Logarithmic" if item.log else "Linear")
