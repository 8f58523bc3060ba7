"""Stage 2: its two further inputs are asked for, checked and handed to the job as channels."""

import json
import shutil

import pytest

from launch.swin_stage2 import EXPERIMENT
from tests.support.launching import Place, only_run, record, tiny
from trapline.config import make_config
from trapline.errors import UsageError
from trapline.launching.aws.account import check_sources
from trapline.launching.checkout import Experiment
from trapline.launching.flags import read_plan

AWS = ["--prepared", "s3://bucket/set"]
PSEUDO = ["--pseudo", "s3://bucket/labels"]
PHASE1 = ["--phase1", "s3://bucket/job/output/model.tar.gz"]
PROCESS = ["--backend", "process", "--prepared", "set"]


def test_it_goes_on_from_stage_1_slowly():
    config = make_config(EXPERIMENT.hyperparameters)
    assert (config.arch, config.weights, config.epochs, config.lr) == ("swin_t", "phase1", 10, 5e-6)
    assert (config.weight_decay, config.stochastic_depth, config.num_workers) == (1e-8, 0.2, 4)
    assert (config.augment, config.pseudo_share, config.pseudo_weight) == ("crops", 0.25, 0.5)
    assert (EXPERIMENT.name, EXPERIMENT.instance_type) == ("swin-stage2", "ml.g4dn.xlarge")


def test_the_docstring_states_commands_and_data():
    for words in ("python launch/swin_stage2.py --prepared s3://", "--backend process", "competition"):
        assert words in EXPERIMENT.description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (AWS, "--pseudo: swin-stage2 needs it"),
        ([*AWS, *PSEUDO], "--phase1: swin-stage2 needs it"),
        ([*AWS, *PHASE1], "--pseudo: swin-stage2 needs it"),
        (PROCESS, "--pseudo: swin-stage2 needs it"),
        ([*AWS, *PHASE1, "--pseudo", "labels"], "--pseudo labels: jobs on AWS read and write S3 alone"),
        ([*AWS, *PSEUDO, "--phase1", "runs/one"], "--phase1 runs/one: jobs on AWS"),
        ([*AWS, *PSEUDO, *PHASE1, "--set", "weights=none"], "--phase1: has no effect with weights=none"),
        ([*AWS, *PSEUDO, *PHASE1, "--set", "pseudo_share=0.001"], "hyperparameter pseudo_share: 0.001 of"),
    ],
)
def test_what_is_missing_or_wrong_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        read_plan(EXPERIMENT, arguments)


def test_other_experiments_take_them_where_they_are_given():
    trial = Experiment("trial", "a trial", {"batch_size": 16})
    assert read_plan(trial, AWS).channels == {}
    assert read_plan(trial, [*AWS, *PSEUDO]).channels == {"pseudo": "s3://bucket/labels"}
    with pytest.raises(UsageError, match="--phase1: trial needs it"):
        read_plan(trial, [*AWS, "--set", "weights=phase1"])
    both = read_plan(trial, [*AWS, *PSEUDO, *PHASE1, "--set", "weights=phase1"])
    assert both.channels == {"pseudo": PSEUDO[1], "phase1": PHASE1[1]}


def channels(done):
    assert done.returncode == 0, done.stderr
    (request,) = json.loads(done.stdout)["requests"]
    return {
        channel["ChannelName"]: next(iter(channel["DataSource"].values()))
        for channel in request["CreateTrainingJob"]["InputDataConfig"]
    }


def test_on_aws_they_are_channels_of_the_request(tmp_path):
    flags = ["--output", "s3://bucket/out", "--role", "arn:aws:iam::123456789012:role/trap", "--dry-run"]
    done = Place(tmp_path).run(
        "swin_stage2", *AWS, *PSEUDO, *PHASE1, *flags, AWS_DEFAULT_REGION="eu-west-1", AWS_REGION="eu-west-1"
    )
    found = {name: source["S3Uri"] for name, source in channels(done).items()}
    assert found == {
        "prepared": "s3://bucket/set/",
        "pseudo": "s3://bucket/labels/",
        "phase1": "s3://bucket/job/output/model.tar.gz",
    }


@pytest.fixture(scope="module")
def phase1(small_demo, tmp_path_factory, call_script):
    """A Phase 1 of one epoch with its archive, and pseudo-labels by it: (archive's folder, labels)."""
    folder = tmp_path_factory.mktemp("phase1")
    flags = [f"--{pair}" for pair in tiny()[1:]]
    done = call_script("train.py", "--prepared", small_demo, "--output", folder / "job", *flags)
    assert done.returncode == 0, done.stderr
    (folder / "run").mkdir()
    shutil.make_archive(folder / "run" / "model", "gztar", folder / "job" / "model")
    flags = ["--model", folder / "run", "--output", folder / "labels", "--threshold", 0.01]
    done = call_script("pseudo_label.py", "--prepared", small_demo, *flags)
    assert done.returncode == 0, done.stderr
    return folder / "run", folder / "labels"


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(False, marks=pytest.mark.slow, id="a run"),
        pytest.param(True, marks=pytest.mark.long, id="an archive"),
    ],
)
def test_here_it_runs_as_a_real_job(small_demo, phase1, tmp_path, archive):
    place = Place(tmp_path)
    run, labels = phase1
    model = run / "model.tar.gz" if archive else run
    sources = ["--prepared", small_demo, "--pseudo", labels, "--phase1", model]
    changes = tiny(stochastic_depth="None", weights="phase1")
    done = place.run("swin_stage2", "--backend", "process", *sources, *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "weights phase1 [" in done.stdout
    assert "pseudo_images=100 " in done.stdout
    assert record(only_run(tmp_path, "swin-stage2"))["status"] == "Completed"
    assert place.leftovers() == []


def test_a_folder_that_is_not_there_is_named(small_demo, tmp_path):
    sources = ["--prepared", small_demo, "--pseudo", "absent", "--phase1", tmp_path]
    done = Place(tmp_path).run("swin_stage2", "--backend", "process", *sources)
    assert (done.returncode, done.stderr) == (2, "error: --pseudo absent: no such folder or file\n")


@pytest.mark.parametrize(
    ("flag", "uri", "message"),
    [
        ("--pseudo", "s3://bucket/labels", None),
        ("--phase1", "s3://bucket/job/output/model.tar.gz", None),
        ("--phase1", "s3://bucket/job/output", None),
        ("--pseudo", "s3://bucket/job", "--pseudo s3://bucket/job: no such file"),
        ("--phase1", "s3://bucket/job/model.tar.gz", "--phase1 s3://bucket/job/model.tar.gz: no such file"),
        ("--phase1", "s3://bucket/absent", "--phase1 s3://bucket/absent: no such file"),
    ],
)
def test_what_lies_in_s3_is_looked_at_before_a_job_starts(flag, uri, message, monkeypatch):
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        client = session.client("s3")
        client.create_bucket(Bucket="bucket")
        for key in ("set/dataset.json", "labels/pseudo_labels.csv", "job/output/model.tar.gz"):
            client.put_object(Bucket="bucket", Key=key, Body=b"")
        given = dict(zip(("--pseudo", "--phase1"), (PSEUDO[1], PHASE1[1]), strict=True)) | {flag: uri}
        plan = read_plan(EXPERIMENT, [*AWS, *(word for pair in given.items() for word in pair)])
        if message is None:
            check_sources(session, plan)
            return
        with pytest.raises(UsageError, match=message):
            check_sources(session, plan)
