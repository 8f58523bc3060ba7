"""Options as typed objects: one command line for each entry point, one check, one record."""

import re
import subprocess
import sys
import time

import pytest

from tests.conftest import ENTRY_POINTS
from trapline.config import TrainingConfig
from trapline.errors import UsageError
from trapline.job_options import (
    BY_SCRIPT,
    CollectOptions,
    EvaluateOptions,
    PrepareOptions,
    PseudoLabelOptions,
    ServeOptions,
)
from trapline.options import make_options, places, read_options

PREPARE = ["--input", "demo", "--output", "set"]
PSEUDO = ["--prepared", "set", "--model", "m", "--output", "out"]
EVALUATE = ["--prepared", "set", "--phase1", "m", "--output", "out"]
COLLECT = ["--prepared", "set", "--predictions", "p", "--evaluation", "e", "--output", "out"]


def read(model, *words):
    return read_options(model, "what it does", words)


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        (PrepareOptions, [*PREPARE, "--val-share", "0.95"], "--val-share: input should be less than"),
        (PrepareOptions, [*PREPARE, "--quality", "101"], "--quality: input should be less than or equal"),
        (PrepareOptions, [*PREPARE, "--shares", "1,2"], "--shares: is not three numbers"),
        (PrepareOptions, [*PREPARE, "--site-regex", "("], "--site-regex: is not a regular expression"),
        (PrepareOptions, [*PREPARE, "--input", ""], "--input: string should have at least 1 character"),
        (
            PrepareOptions,
            [*PREPARE, "--site-csv", "x.csv", "--site-regex", "(.)"],
            "--site-csv and --site-regex: give one of them",
        ),
        (PseudoLabelOptions, [*PSEUDO, "--threshold", "0"], "--threshold: input should be greater than 0"),
        (PseudoLabelOptions, [*PSEUDO, "--cap-per-class", "0"], "--cap-per-class: input should be greater"),
        (PseudoLabelOptions, [*PSEUDO, "--cap-per-class", "1.5"], "--cap-per-class: input should be"),
        (PseudoLabelOptions, [*PSEUDO, "--cap-per-class", "x"], "--cap-per-class: is neither a whole number"),
        (
            PseudoLabelOptions,
            [*PSEUDO, "--threshold", "0.9", "--target-precision", "0.9"],
            "--target-precision: not allowed with --threshold",
        ),
        (EvaluateOptions, [*EVALUATE, "--resamples", "99"], "--resamples: input should be greater than"),
        (EvaluateOptions, [*EVALUATE, "--views", "sideways"], "--views: 'sideways' is neither a set"),
        (EvaluateOptions, [*EVALUATE, "--int8", "--precision", "int8"], "--int8: measures int8 beside"),
        (CollectOptions, [*COLLECT, "--review-below", "1.1"], "--review-below: input should be less than"),
        (ServeOptions, ["--port", "70000"], "--port: input should be less than or equal to 65535"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_by_its_flag(model, words, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        read(model, *words)


def test_values_have_the_types_of_their_fields():
    options = read(
        PrepareOptions, *PREPARE, "--shares", "0.5,0.3,0.2", "--quality", "lossless", "--follow-links"
    )
    assert (options.shares, options.quality, options.follow_links) == ((0.5, 0.3, 0.2), "lossless", True)
    assert read(PrepareOptions, *PREPARE, "--quality", "90", "--follow-links", "FALSE").quality == 90


@pytest.mark.parametrize(("text", "value"), [("500", 500), ("0.3", 0.3), ("1.0", 1.0), ("1", 1)])
def test_a_cap_with_a_point_is_a_share_and_one_without_a_count(text, value):
    cap = read(PseudoLabelOptions, *PSEUDO, "--cap-per-class", text).cap_per_class
    assert (cap, type(cap)) == (value, type(value))


def test_a_list_comes_in_one_flag_or_in_several():
    options = read(CollectOptions, *COLLECT, "--history", "a", "--history", "b", "c", "--settings", "x", "y")
    assert (options.history, options.settings) == (("a", "b", "c"), ("x", "y"))


@pytest.mark.parametrize("separator", ["-", "_"])
def test_flags_are_taken_with_hyphens_and_with_the_toolkits_underscores(separator):
    assert read(PrepareOptions, *PREPARE, f"--short{separator}side", "64").short_side == 64


@pytest.mark.parametrize(
    ("model", "words"), [(PrepareOptions, PREPARE), (PseudoLabelOptions, PSEUDO), (CollectOptions, COLLECT)]
)
def test_what_is_recorded_makes_the_same_options_again(model, words):
    options = read(model, *words)
    assert make_options(model, options.record()) == options


def test_options_cannot_be_changed_and_no_unknown_one_is_taken():
    with pytest.raises(ValueError, match="frozen"):
        read(ServeOptions).port = 1
    with pytest.raises(UsageError, match=r"^--prot: unknown; did you mean --port\?$"):
        make_options(ServeOptions, {"prot": 1})
    with pytest.raises(UsageError, match=r"^--model: must be given"):
        make_options(PseudoLabelOptions, {"prepared": "x", "output": "y"})


def test_the_digest_leaves_out_what_changes_no_result():
    one, other, third = (
        read(PrepareOptions, *PREPARE, *words) for words in ([], ["--processes", "2"], ["--seed", "2"])
    )
    assert one.digest() == other.digest() != third.digest()


@pytest.mark.parametrize("name", BY_SCRIPT)
def test_every_folder_that_is_read_or_written_is_marked_as_a_place(name):
    model = BY_SCRIPT[name]
    named = {option for option, info in model.model_fields.items()
             if re.search(r"\bs3://", str(info.json_schema_extra["metavar"]))}  # fmt: skip
    assert named == set(places(model))


@pytest.mark.parametrize("name", BY_SCRIPT)
def test_help_explains_every_option_and_loads_nothing_heavy(name):
    command = [sys.executable, str(ENTRY_POINTS / f"{name}.py"), "--help"]
    started = time.monotonic()
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "200"}).stdout
    assert time.monotonic() - started < 5  # half a second on a machine at rest; torch alone takes 4
    models = [BY_SCRIPT[name], *([TrainingConfig] if name == "train" else [])]
    for option in (option for model in models for option in model.model_fields):
        assert f"--{option.replace('_', '-')}" in shown
    assert "default: None)" not in shown or name == "train"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"demo_unlabeled": 6}, "--demo-unlabeled 6: must be 0, or at least 12"),
        ({"demo_images": 20, "demo_sites": 30}, "--demo-images 20: must be at least --demo-sites"),
    ],
)
def test_a_demo_that_cannot_be_drawn_is_refused_by_the_option_that_was_typed(given, said):
    with pytest.raises(UsageError, match=f"^{said}"):
        make_options(PrepareOptions, {"input": "demo", "output": "out", **given})
