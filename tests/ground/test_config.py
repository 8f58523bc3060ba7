import argparse
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.config import TrainingConfig, make_config, parse_value, pseudo_rows, read_config
from trapline.errors import UsageError
from trapline.options import add_options, hyphenated

IMPOSSIBLE = {
    "mixup": [-1, "nan", 1001],
    "arch": ["", "resnet18; rm -rf /", "$(id)", None],
    "weights": ["a b.pth", ""],
    "image_size": [0, -1, "x", 1.5, None],
    "dropout": [-0.1, 1, "half"],
    "stochastic_depth": [-0.1, 1],
    "model_output": ["softmax", None],
    "augment": ["lots", None],
    "eval_crop": ["top", None],
    "batch_size": [0, -4, "many", "cuda:0", "tpu:4", "cuda:128,cpu", "cuda:128,cuda:64"],
    "normalisation": ["mnist", None],
    "in_memory": ["perhaps", None, True],
    "pseudo_share": [0, 1, -0.1, "nan", None],
    "pseudo_weight": [0, -1, 11, "inf"],
    "num_workers": [-1, 1000],
    "folds": [-1, 1, 101, 5, None],
    "fold": [0, 1],
    "epochs": [0, -1, "1e", None],
    "optimizer": ["lion"],
    "lr": [0, -1, "nan", "inf", float("nan"), float("inf"), None],
    "head_lr_multiplier": [0, "nan"],
    "norm_bias_lr_multiplier": [0, "nan"],
    "momentum": [1, -0.5],
    "nesterov": ["perhaps", True],
    "lookahead": ["perhaps", None],
    "l1": [-1, 1.1, "nan"],
    "weight_decay": [-1, "nan"],
    "schedule": ["linear"],
    "warmup_epochs": [-1, 5, "nan"],
    "plateau_patience": [0, None],
    "plateau_factor": [0, 1, "nan"],
    "accumulation": [0],
    "clip_norm": [0, -1, "inf"],
    "loss": ["hinge", "nll", None],
    "focal_alpha": [0, 1.1],
    "focal_gamma": [-1, "inf"],
    "label_smoothing": [1, -0.1],
    "class_weights": ["sqrt"],
    "positive_weights": ["inverse", "balanced"],
    "aux_weight": [-0.1, "nan"],
    "best_metric": ["train_loss", "val_map", "val_micro_f1"],
    "patience": [0, -1],
    "min_delta": [-1, 0.1],
    "validate_every": [0, -1],
    "threshold": [0, 1, "nan"],
    "tune_thresholds": ["perhaps", None],
    "test_views": ["enhanced", "plain,sideways", None],
    "score_test": ["perhaps", None],
    "target_accuracy": [0, 1.1, "nan"],
    "precision": ["fp8"],
    "channels_last": ["maybe"],
    "seed": [-1, 2**32],
    "deterministic": ["perhaps", None],
    "cudnn_benchmark": ["perhaps"],
    "compile": ["perhaps", None, 1],
    "gpu_memory_fraction": [0, 1.1, "nan"],
    "log_every": [-1, None],
    "export_pth": ["x"],
}


def test_every_hyperparameter_has_impossible_values_to_try():
    assert IMPOSSIBLE.keys() == TrainingConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in IMPOSSIBLE.items() for v in values]
)
def test_an_impossible_value_is_refused_in_one_line_that_names_it(name, value):
    with pytest.raises(UsageError) as refusal:
        make_config({name: value})
    assert name in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_fold_is_one_of_the_folds_and_starts_from_no_model_that_has_seen_it():
    assert make_config({"folds": 5, "fold": 5}).fold == 5
    for values in ({"folds": 5, "fold": 6}, {"folds": 5, "fold": 1, "weights": "phase1"}):
        with pytest.raises(UsageError, match="fold"):
            make_config(values)
    digests = {make_config({"folds": 5, "fold": fold}).digest() for fold in range(1, 6)}
    assert len(digests) == 5


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"^hyperparameter epoch: unknown; did you mean epochs\?$"):
        make_config({"epoch": 3})


def test_each_wrong_hyperparameter_gets_a_line():
    with pytest.raises(UsageError) as refusal:
        make_config({"lr": -1, "epochs": 0})
    assert [line.split(":")[0] for line in str(refusal.value).splitlines()] == [
        "hyperparameter epochs",
        "hyperparameter lr",
    ]


def test_onecycle_refuses_a_second_warm_up():
    with pytest.raises(UsageError, match="onecycle"):
        make_config({"schedule": "onecycle", "warmup_epochs": 1})


def test_the_record_makes_the_same_configuration_again():
    config = make_config({"lr": "3e-4", "patience": 3, "weights": "s3://bucket/a-b_c.pth"})
    assert make_config(config.record()) == config


@given(st.integers(1, 64), st.integers(0, 16))
def test_the_digest_follows_what_changes_the_weights_and_nothing_else(batch_size, workers):
    base = make_config({"batch_size": 65})
    assert (
        make_config({"batch_size": 65, "num_workers": workers, "export_pth": True}).digest() == base.digest()
    )
    assert make_config({"batch_size": batch_size}).digest() != base.digest()


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig().lr = 1.0


@given(st.floats(0.01, 0.99), st.integers(2, 512))
def test_a_batch_has_both_kinds_of_images_or_is_refused(share, batch_size):
    rounded = round(share * batch_size)
    if rounded in (0, batch_size):
        with pytest.raises(UsageError, match="hyperparameter pseudo_share"):
            pseudo_rows(share, batch_size)
    else:
        assert pseudo_rows(share, batch_size) == rounded


@pytest.mark.parametrize(
    ("given_as", "means"), [(True, "true"), ("True", "true"), ("false", "false"), ("Auto", "auto")]
)
def test_a_switch_is_read_in_every_dialect(given_as, means):
    assert make_config({"compile": given_as}).compile == means


def test_what_excludes_each_other_is_refused_by_name():
    with pytest.raises(UsageError, match=r"cudnn_benchmark and deterministic: exclude each other"):
        make_config({"cudnn_benchmark": True, "deterministic": True})
    assert make_config({"cudnn_benchmark": False, "deterministic": True}).deterministic
    with pytest.raises(UsageError, match=r"loss nll: needs model_output=log_softmax"):
        make_config({"loss": "nll"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "bce", "class_weights": "balanced"}, "class_weights: not with loss bce"),
        ({"loss": "focal", "positive_weights": "balanced"}, "positive_weights: only with loss=bce"),
        ({"loss": "focal", "best_metric": "val_map"}, "best_metric val_map: only with loss=bce"),
        ({"loss": "bce", "model_output": "log_softmax"}, "loss bce: needs model_output=logits"),
        ({"aux_weight": 0.3, "weights": "phase1"}, "aux_weight: only with"),
        ({"aux_weight": 0.3, "model_output": "log_softmax"}, "aux_weight: only with"),
    ],
)
def test_what_belongs_to_one_label_or_to_several_is_refused_for_the_other(values, words):
    with pytest.raises(UsageError, match=words):
        make_config(values)
    assert make_config({"loss": "bce", "best_metric": "val_map", "positive_weights": "balanced"})


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
    pairs = ((f"--{key}", "" if value is None else str(value)) for key, value in config.record().items())
    assert read_config(parsed([text for pair in pairs for text in pair]), {}) == config


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
    script = "import sys, trapline.config as h; print({'torch', 'pandas', 'cv2'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
