"""The private parts of the SDK that local jobs take: these fail where the SDK changes them."""

import ast
import inspect
import re
from importlib import metadata

import pytest

pytest.importorskip("sagemaker")

import sagemaker.config.config as config
import sagemaker.local.entities as entities
import sagemaker.local.image as image
import sagemaker.local.local_session as local_session
import sagemaker.local.pipeline as pipeline
import sagemaker.telemetry.telemetry_logging as telemetry
import sagemaker.utils as utils
from sagemaker.local.image import _SageMakerContainer, _Volume
from sagemaker.session import Session

from tests.conftest import ROOT
from trapline.launching.local.docker_engine import Engine
from trapline.launching.local.workspace import open_workspace
from trapline.launching.sdk.docker_internals import NETWORK, NodeContainers, node_class
from trapline.launching.sdk.internals import (
    FOLDERS,
    SHARED_MEMORY,
    JobSession,
    LocalJob,
    NodeJob,
    NodeProcesses,
    local_jobs,
)
from trapline.launching.sdk.pipeline_internals import (
    BatchTransform,
    DefinitionSession,
    StepContainers,
    StepProcesses,
    Watcher,
    local_steps,
    step_class,
)

HINT = "trapline.launching.sdk relies on it; see whether both backends still work, then adapt both"


ENGINE = Engine("/bin/docker", ("/bin/docker", "compose"), "1000:1000", False, "image:1", "sha256:1")


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The session of a job whose nodes are containers."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with open_workspace(None) as workspace:
        yield JobSession(LocalJob(workspace, None, tmp_path, lambda *_: 0, ENGINE))


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_version_is_one_that_was_looked_at():
    assert metadata.version("sagemaker").startswith("2.257."), HINT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("__init__", ["self", "instance_type", "instance_count", "image", "sagemaker_session",
                      "container_entrypoint", "container_arguments"]),
        ("train", ["self", "input_data_config", "output_data_config", "hyperparameters", "environment",
                   "job_name"]),
        ("process", ["self", "processing_inputs", "processing_output_config", "environment",
                     "processing_job_name"]),
        ("retrieve_artifacts", ["self", "compose_data", "output_data_config", "job_name"]),
        ("_generate_compose_file", ["self", "command", "additional_volumes", "additional_env_vars"]),
        ("_build_optml_volumes", ["self", "host", "subdirs"]),
        ("_compose", ["self", "detached"]),
        ("_upload_processing_outputs", ["self", "data_dir", "processing_output_config"]),
    ],
)  # fmt: skip
def test_the_container_class_has_the_methods_that_are_used_or_replaced(name, expected):
    assert parameters(getattr(_SageMakerContainer, name)) == expected, HINT


def test_nothing_else_of_the_container_asks_for_docker():
    """What `train` and `process` call is compared with what was looked at: a new call is noticed."""
    called = set()
    for method in (_SageMakerContainer.train, _SageMakerContainer.process):
        source = inspect.getsource(method)
        called |= set(re.findall(r"(?:self\.|\b)(_[a-z_]+)\(", source))
    assert called == {
        "_create_tmp_folder",
        "_prepare_processing_volumes", "_create_processing_config_file_directories", "_generate_compose_file",
        "_ecr_login_if_needed", "_pull_image", "_compose", "_stream_output", "_upload_processing_outputs",
        "_cleanup", "_prepare_training_volumes", "_update_local_src_path", "_create_config_file_directories",
    }, HINT  # fmt: skip


def test_the_container_is_looked_up_where_it_is_replaced():
    assert local_session._SageMakerContainer is _SageMakerContainer, HINT
    for name in ("create_training_job", "create_processing_job"):
        source = inspect.getsource(inspect.unwrap(getattr(local_session.LocalSagemakerClient, name)))
        assert "_SageMakerContainer(" in source, HINT
    assert "_SageMakerContainer" in vars(entities), HINT


def test_a_session_has_all_that_the_base_class_would_have_set_but_the_s3_clients():
    source = inspect.getsource(local_session.LocalSession._initialize)
    names = set(re.findall(r"self\.([a-z_0-9]+)\b[^=\n]*= ", source))
    assert names == {
        "boto_session", "_region_name", "sagemaker_client", "sagemaker_runtime_client", "local_mode",
        "s3_resource", "s3_client", "sagemaker_config", "_default_bucket_name_override",
        "default_bucket_prefix", "config",
    }, HINT  # fmt: skip


def test_the_streamer_is_looked_up_in_its_module_and_gets_the_process():
    assert parameters(image._stream_output) == ["process"], HINT


def test_volumes_say_where_they_belong():
    volume = _Volume("/host", "/opt/ml/x")
    assert (volume.host_dir, volume.container_dir, volume.map) == ("/host", "/opt/ml/x", "/host:/opt/ml/x"), (
        HINT
    )


def test_the_defaults_file_is_validated_when_it_is_read_and_later_by_a_name_that_can_be_replaced():
    source = inspect.getsource(config.load_sagemaker_config)
    assert "validate_sagemaker_config(config_from_file)" in source, HINT
    assert "validate_sagemaker_config(config_to_check)" in inspect.getsource(utils), HINT


def test_telemetry_goes_through_the_function_that_is_silenced():
    source = inspect.getsource(telemetry._telemetry_emitter)
    assert "_send_telemetry_request(" in source, HINT
    assert "requests" in inspect.getsource(telemetry), HINT


def test_uploads_and_jobs_go_through_the_methods_that_the_session_replaces():
    for name in ("upload_data", "default_bucket", "process"):
        assert name in vars(Session), HINT
        assert name in vars(JobSession)
    for nodes in (NodeProcesses, NodeContainers):
        assert issubclass(nodes, NodeJob)
        assert issubclass(nodes, _SageMakerContainer)


@pytest.mark.parametrize("engine", [None, ENGINE], ids=["processes", "containers"])
def test_jobs_are_made_of_the_class_that_fits(engine):
    before = local_session._SageMakerContainer, image._stream_output
    with local_jobs(node_class(engine)):
        assert local_session._SageMakerContainer is (NodeContainers if engine else NodeProcesses)
        assert image._stream_output is not before[1]
    assert (local_session._SageMakerContainer, image._stream_output) == before
    assert step_class(engine) is (StepContainers if engine else StepProcesses)


def test_results_are_packed_by_the_function_that_is_replaced():
    assert "sagemaker.utils.create_tar_file(" in inspect.getsource(_SageMakerContainer.retrieve_artifacts), (
        HINT
    )
    before = utils.create_tar_file
    assert parameters(before) == ["source_files", "target"], HINT
    with local_jobs(node_class(None)):
        assert utils.create_tar_file is not before
    assert utils.create_tar_file is before


def test_a_container_is_described_by_the_method_that_is_asked(session, tmp_path):
    asked = ["self", "host", "environment", "optml_subdirs", "command", "volumes"]
    assert parameters(_SageMakerContainer._create_docker_host) == asked, HINT
    container = NodeContainers("local_gpu", 1, "image:1", session, ["python3"], ["a.py"])
    container.container_root = str(tmp_path)
    (host,) = container.hosts
    described = container._create_docker_host(host, [], FOLDERS["process"], "process", [])
    assert described.pop("container_name").endswith(f"-{host}"), HINT
    assert set(described.pop("volumes")) == {
        f"{tmp_path}/{host}/output:/opt/ml/output", f"{tmp_path}/{host}/config:/opt/ml/config",
    }, HINT  # fmt: skip
    assert described == {
        "image": "image:1", "stdin_open": True, "tty": True, "environment": [],
        "entrypoint": ["python3", "a.py"], "networks": {NETWORK: {"aliases": [host]}},
        "shm_size": SHARED_MEMORY,
        "deploy": {"resources": {"reservations": {"devices": [{"count": "all", "capabilities": ["gpu"]}]}}},
    }, HINT  # fmt: skip
    plain = NodeContainers("local", 1, "image:1", session)
    plain.container_root = str(tmp_path)
    for command in ("train", "serve"):
        assert plain._create_docker_host(host, [], set(), command, [])["command"] == command, HINT


def test_credentials_and_the_compose_file_are_where_this_project_writes_them():
    source = inspect.getsource(_SageMakerContainer._generate_compose_file)
    assert "_aws_credentials(" in source, HINT
    assert "_generate_compose_file" in vars(NodeContainers)
    assert "_aws_credentials(" not in inspect.getsource(_SageMakerContainer._create_docker_host), HINT


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (entities._LocalTransformJob.__init__, ["self", "transform_job_name", "model_name", "local_session"]),
        (entities._LocalTransformJob.start,
         ["self", "input_data", "output_data", "transform_resources", "kwargs"]),
        (entities._LocalTransformJob._get_container_environment, ["self", "kwargs"]),
        (entities._LocalPipelineExecution.__init__,
         ["self", "execution_id", "pipeline", "PipelineParameters", "PipelineExecutionDescription",
          "PipelineExecutionDisplayName", "local_session"]),
        (entities._LocalPipelineExecution.mark_step_executing, ["self", "step_name"]),
        (entities._LocalPipelineExecution.update_step_properties, ["self", "step_name", "step_properties"]),
        (entities._LocalPipelineExecution.update_step_failure, ["self", "step_name", "failure_message"]),
        (pipeline.parse_s3_url, ["url"]),
        (Session.read_s3_file, ["self", "bucket", "key_prefix"]),
        (Session.expand_role, ["self", "role"]),
    ],
)  # fmt: skip
def test_a_pipelines_execution_has_the_methods_that_are_used_or_replaced(method, expected):
    assert parameters(inspect.unwrap(method)) == expected, HINT


def test_a_transform_job_has_all_that_its_description_needs():
    names = set(re.findall(r"self\.([a-z_]+)", inspect.getsource(entities._LocalTransformJob.describe)))
    assert names == {
        "state", "model_name", "name", "end_time", "start_time", "batch_strategy", "transform_resources",
        "output_data", "input_data",
    }, HINT  # fmt: skip
    assert issubclass(BatchTransform, entities._LocalTransformJob)


@pytest.mark.parametrize("engine", [None, ENGINE], ids=["processes", "containers"])
def test_what_a_pipeline_replaces_is_looked_up_where_it_is_replaced_and_put_back(engine):
    client = local_session.LocalSagemakerClient
    lookups = [
        (local_session, "_SageMakerContainer", client.create_processing_job, step_class(engine)),
        (local_session, "_LocalTransformJob", client.create_transform_job, BatchTransform),
        (entities, "_LocalPipelineExecution", entities._LocalPipeline.start, None),
        (pipeline, "parse_s3_url",
         pipeline.LocalPipelineExecutor._evaluate_json_get_property_file_reference, None),
    ]  # fmt: skip
    before = [getattr(module, name) for module, name, _, _ in lookups]
    with local_steps(engine, Watcher(), "id"):
        for (module, name, user, replacement), original in zip(lookups, before, strict=True):
            assert f"{name}(" in inspect.getsource(inspect.unwrap(user)), HINT
            assert getattr(module, name) is (replacement or getattr(module, name))
            assert getattr(module, name) is not original
    assert [getattr(module, name) for module, name, _, _ in lookups] == before


def test_the_executor_reads_property_files_through_the_session():
    source = inspect.getsource(pipeline.LocalPipelineExecutor._evaluate_json_get_function)
    assert "self.sagemaker_session.read_s3_file(" in source, HINT
    assert "read_s3_file" in vars(JobSession)


def test_the_executor_swallows_failures_which_are_read_from_the_execution():
    assert "except StepExecutionException" in inspect.getsource(pipeline.LocalPipelineExecutor.execute), HINT


def test_a_definition_needs_no_account_and_no_network(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    session = DefinitionSession("eu-west-1")
    assert session.boto_region_name == "eu-west-1"
    assert session.expand_role("Name") == "Name"
    assert session.default_bucket() == "unused"


def test_no_other_module_uses_private_names_of_the_sdk():
    library = ROOT / "src" / "common" / "trapline"
    modules = [path for path in library.rglob("*.py") if not path.name.endswith("internals.py")]
    assert len(modules) > 100
    for path in modules:
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ImportFrom) and (item.module or "").startswith("sagemaker"):
                assert not [alias.name for alias in item.names if alias.name.startswith("_")], path
