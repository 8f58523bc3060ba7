import argparse
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.config import TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.hyperparameters import parse_value, read_config, to_arguments
from trapline.options import add_options, hyphenated

configs = st.fixed_dictionaries(
    {},
    optional={
        "arch": st.sampled_from(["resnet18", "swin_t"]),
        "epochs": st.integers(1, 100),
        "lr": st.floats(1e-12, 100),
        "clip_norm": st.none() | st.floats(1e-3, 10),
        "patience": st.none() | st.integers(1, 9),
        "channels_last": st.none() | st.booleans(),
        "deterministic": st.booleans(),
    },
).map(make_config)


def parsed(command_line):
    parser = argparse.ArgumentParser()
    add_options(parser, TrainingConfig)
    return parser.parse_args(hyphenated(command_line))


@given(configs)
def test_the_toolkits_command_line_gives_the_same_configuration(config):
    assert read_config(parsed(to_arguments(config)), {}) == config


@given(configs)
def test_the_dialect_of_sdk_version_3_gives_the_same_configuration(config):
    pairs = [
        (f"--{key}", value if isinstance(value, str) else json.dumps(value))
        for key, value in config.record().items()
    ]
    assert read_config(parsed([text for pair in pairs for text in pair]), {}) == config


@given(configs)
def test_sm_hps_gives_the_same_configuration_with_decoded_values_and_with_text(config):
    record = config.record()
    as_text = {key: "" if value is None else str(value) for key, value in record.items()}
    for values in (record, as_text):
        assert read_config(parsed([]), {"SM_HPS": json.dumps(values)}) == config


def test_the_installed_toolkit_speaks_the_dialect_that_is_read():
    mapping = pytest.importorskip("sagemaker_training.mapping")
    config = make_config({"lr": 1e-5, "deterministic": True})
    command_line = [str(text) for text in mapping.to_cmd_args(config.record())]
    assert read_config(parsed(command_line), {}) == config


def test_sm_hps_comes_before_the_command_line():
    environment = {"SM_HPS": '{"epochs": 7}'}
    assert read_config(parsed(["--epochs", "3"]), environment).epochs == 7


def test_what_the_sdk_adds_is_not_a_hyperparameter():
    environment = {"SM_HPS": '{"sagemaker_job_name": "x", "sagemaker_region": "eu-west-1", "lr": 0.5}'}
    assert read_config(parsed([]), environment).lr == 0.5


def test_stray_environment_variables_are_not_read():
    environment = {"EPOCHS": "99", "SM_HP_EPOCHS": "99", "LR": "99"}
    assert read_config(parsed([]), environment) == TrainingConfig()


@pytest.mark.parametrize("text", ["not json", "[1]", '"x"'])
def test_a_broken_sm_hps_is_refused(text):
    with pytest.raises(UsageError, match="SM_HPS"):
        read_config(parsed([]), {"SM_HPS": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("None", None),
        ("null", None),
        ("['a', 'b']", ["a", "b"]),
        ('["a", true, null]', ["a", True, None]),
        ("none", "none"),
        ("1e-5", "1e-5"),
    ],
)
def test_values_in_both_dialects(text, value):
    assert parse_value("x", text) == value


def test_an_unreadable_list_is_refused():
    with pytest.raises(UsageError, match="classes"):
        parse_value("classes", "['a', ")


def test_underscores_and_hyphens_are_the_same():
    assert read_config(parsed(["--batch_size=8", "--image-size", "32"]), {}).batch_size == 8


def test_a_switch_needs_no_value():
    assert read_config(parsed(["--deterministic", "--epochs", "2"]), {}).deterministic is True


def test_importing_the_configuration_loads_no_heavy_library():
    script = "import sys, trapline.hyperparameters as h; print({'torch', 'pandas', 'cv2'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
