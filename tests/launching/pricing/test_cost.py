"""The cost of a launch is a ceiling that can be reckoned by hand, and says what it rests on."""

import json
import re

import pytest

from trapline.launching.pricing import prices
from trapline.launching.pricing.cost import EXCLUDED, estimate, estimate_pipeline

TRAINING = {
    "TrainingJobName": "night-run",
    "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 100},
    "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
}
PROCESSING = {
    "ProcessingJobName": "night-run-prepare",
    "ProcessingResources": {
        "ClusterConfig": {"InstanceType": "ml.m5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 100}
    },
}


def training(**changes):
    """A training job's request, with changes of its parts."""
    body = json.loads(json.dumps(TRAINING))
    for name, value in changes.items():
        body[name] = {**body.get(name, {}), **value} if isinstance(value, dict) else value
    return {"CreateTrainingJob": body}


def only(*requests):
    (job,) = estimate(requests).jobs
    return job


@pytest.fixture
def table(monkeypatch):
    """Prices that are easy to reckon with."""
    monkeypatch.setattr(
        "trapline.launching.pricing.cost.HOURLY", {"ml.g4dn.xlarge": 0.5, "ml.m5.2xlarge": 0.25}
    )
    monkeypatch.setattr("trapline.launching.pricing.cost.STORAGE_GB_MONTH", 0.073)


def test_a_training_job_costs_its_limit_times_machines_times_price_and_its_volumes(table):
    job = only(training())
    assert job.instances_usd == pytest.approx(2.0)  # 2 h, 2 machines, 0.50 USD
    assert job.storage_usd == pytest.approx(0.04)  # 4 h of 100 GB at 0.073 / 730 USD
    assert job.usd == pytest.approx(2.04)
    assert job.bounded_by == "MaxRuntimeInSeconds 7200 (--max-run)"


def test_the_time_for_which_a_machine_is_kept_is_paid_for(table):
    job = only(training(ResourceConfig={"KeepAlivePeriodInSeconds": 1800}))
    assert job.instances_usd == pytest.approx(2.5)
    assert job.bounded_by.endswith("and 1800 s that the machine is kept")


def test_a_job_without_a_limit_is_stopped_by_sagemaker_after_a_day(table):
    job = only({"CreateProcessingJob": PROCESSING})
    assert job.instances_usd == pytest.approx(6.0)  # 24 h at 0.25 USD
    assert job.bounded_by == "SageMaker's default of one day"


def test_a_search_costs_every_job_that_it_may_start(table):
    limits = {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2}
    definition = {name: value for name, value in TRAINING.items() if name != "TrainingJobName"}
    body = {
        "HyperParameterTuningJobName": "search",
        "HyperParameterTuningJobConfig": {"ResourceLimits": limits},
        "TrainingJobDefinition": definition,
    }
    job = only({"CreateHyperParameterTuningJob": body})
    assert (job.jobs, job.usd) == (20, pytest.approx(20 * 2.04))
    limits["MaxRuntimeInSeconds"] = 3600  # two side by side for an hour each: 2 of 40 hours
    assert only({"CreateHyperParameterTuningJob": body}).usd == pytest.approx(2.04)


def test_batch_transform_has_no_limit_of_its_own_and_that_is_said(table):
    resources = {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1}
    job = only({"CreateTransformJob": {"TransformJobName": "answers", "TransformResources": resources}})
    assert job.usd == pytest.approx(60.0)  # 120 h at 0.50 USD
    assert job.bounded_by.startswith("nothing in the request; five days are assumed")


def test_spot_is_a_range_below_the_ceiling_and_saves_nothing_on_storage(table):
    cost = estimate([training(EnableManagedSpotTraining=True), {"CreateProcessingJob": PROCESSING}])
    assert cost.ceiling_usd == pytest.approx(2.04 + 6.0 + 0.24)
    assert cost.spot_usd == pytest.approx((8.28 - 0.7 * 2.0, 8.28 - 0.3 * 2.0))
    assert "with spot usually 6.88 to 7.68 USD" in cost.sentence()
    assert estimate([training()]).spot_usd is None


def test_a_machine_without_a_price_is_named_and_the_rest_still_reckoned(table):
    cost = estimate([training(ResourceConfig={"InstanceType": "ml.trn1.2xlarge"}), training()])
    assert cost.without_price == ["ml.trn1.2xlarge"]
    assert cost.record()["jobs"][0]["instances_usd"] is None
    assert cost.ceiling_usd == pytest.approx(2.04 + 0.04)
    assert "no price known for ml.trn1.2xlarge, which comes on top" in cost.sentence()


def test_requests_that_start_no_machine_cost_nothing():
    assert estimate([{"CreateBucket": {"Bucket": "b"}}]).ceiling_usd == 0


def test_the_sentence_calls_itself_an_estimate_and_says_what_it_leaves_out():
    said = estimate([training()]).sentence()
    assert said.startswith("estimate: at most 3.02 USD")  # 4 h at 0.7364 and 0.0767 for storage
    assert f"prices of {prices.AS_OF} in {prices.REGION}" in said
    assert EXCLUDED in said


def test_the_table_is_dated_and_its_prices_are_plausible():
    assert re.fullmatch(r"20\d\d-\d\d", prices.AS_OF)
    assert all(0.01 < price < 150 for price in prices.HOURLY.values())
    assert all(re.fullmatch(r"ml\.[a-z0-9]+\.\w+", name) for name in prices.HOURLY)


def pipeline(**retry):
    """A definition with a training step behind a condition."""
    machines = {
        "InstanceType": {"Get": "Parameters.Machine"},
        "InstanceCount": {"Get": "Parameters.Count"},
        "VolumeSizeInGB": 0,
    }
    arguments = {"ResourceConfig": machines, "StoppingCondition": {"MaxRuntimeInSeconds": 3600}}
    step = {"Name": "Train", "Type": "Training", "Arguments": arguments, **retry}
    gate = {"Name": "Gate", "Type": "Condition", "Arguments": {"IfSteps": [step], "ElseSteps": []}}
    parameters = [{"Name": "Machine", "DefaultValue": "ml.g4dn.xlarge"}, {"Name": "Count", "DefaultValue": 1}]
    return {"Parameters": parameters, "Steps": [gate]}


def test_a_pipelines_steps_are_reckoned_with_its_parameters(table):
    assert estimate_pipeline(pipeline(), {}).ceiling_usd == pytest.approx(0.5)
    assert estimate_pipeline(pipeline(), {"Count": 3}).ceiling_usd == pytest.approx(1.5)
    assert estimate_pipeline(pipeline(), {"Machine": "ml.new"}).without_price == ["ml.new"]


def test_only_the_retries_of_jobs_that_have_run_are_paid_for(table):
    policies = [
        {"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 6},
        {"ExceptionType": ["SageMaker.CAPACITY_ERROR"], "ExpireAfterMin": 240},
        {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "MaxAttempts": 3},
    ]
    cost = estimate_pipeline(pipeline(RetryPolicies=policies), {})
    assert (cost.once_usd, cost.ceiling_usd) == (pytest.approx(0.5), pytest.approx(2.0))
    assert cost.jobs[0].bounded_by.endswith("; 4 attempts")
    assert "2.00 USD with every retry" in cost.sentence()
