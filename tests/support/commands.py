"""Commands as documents show them, read by the parsers of the scripts that they call."""

import importlib

from trapline.config import TrainingConfig
from trapline.console import ArgumentParser
from trapline.job_options import BY_SCRIPT
from trapline.launching.checkout import experiment_names, find_experiment
from trapline.launching.commands.multilabel_sweep import read_sweep
from trapline.launching.commands.policies import read_values
from trapline.launching.flags import read_plan
from trapline.launching.many.studies import read_search
from trapline.options import add_options, given_options, hyphenated, make_options
from trapline.pipeline.command_line import read_command


def _behind(name):
    """The module of the library whose `main` a script of launch/ runs."""
    return importlib.import_module(importlib.import_module(f"launch.{name}").main.__module__)


def parse(path, words):
    """Let the script's own parser read the words; SystemExit or UsageError where it refuses them."""
    folder, _, name = path.partition("/")
    if path == "pipelines/camera_trap":
        read_command(words)
    elif folder == "entry_points":
        parser = ArgumentParser()
        for model in (BY_SCRIPT[name], *([TrainingConfig] if name == "train" else [])):
            add_options(parser, model)
        flags = parser.parse_args(hyphenated(words))
        make_options(BY_SCRIPT[name], given_options(flags, BY_SCRIPT[name]))
    elif name in experiment_names():
        read_plan(find_experiment(name), words)
    elif name == "tune":
        read_search(find_experiment(words[0]), words[1:])
    elif name == "multilabel_sweep":
        read_sweep(words)
    elif name == "policies":
        read_values(
            vars(importlib.import_module("trapline.launching.commands.policies").parser().parse_args(words))
        )
    else:
        flags = _behind(name).parser().parse_args(words)
        if name == "check" and flags.name:
            parse("pipelines/camera_trap" if flags.name == "pipeline" else f"launch/{flags.name}",
                  ["definition", *flags.flags] if flags.name == "pipeline" else flags.flags)  # fmt: skip
