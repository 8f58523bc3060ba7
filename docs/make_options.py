"""Write docs/options.md, the reference of options, from what makes the command lines.

Run: python docs/make_options.py
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from trapline.config import TrainingConfig
from trapline.console import ArgumentParser
from trapline.job_options import BY_SCRIPT
from trapline.launching import flags
from trapline.launching.checkout import find_experiment
from trapline.launching.commands import predicting
from trapline.launching.settings import FILE, VARIABLE, LauncherSettings
from trapline.options import Options, add_options
from trapline.pipeline import command_line

PAGE = Path(__file__).parent / "options.md"
EXPERIMENT = "swin_stage1"  # one of one job; Phase 2 takes --phase1 and --pseudo besides
START = """# Options

Made by `python docs/make_options.py` from what makes the command lines; `--help` of each command says the
same. Wrong values end with exit code 2 before any work. A launcher sets hyperparameters by
`--set NAME=VALUE ...` and what `prepare.py` takes by `--prepare NAME=VALUE ...`; in SageMaker `train.py`
reads hyperparameters from `SM_HPS`. A folder may be an `s3://` URI: inputs are fetched, results are uploaded
at the end. Names may be written with `_` or `-`.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """The content of docs/options.md."""
    return START + "".join(f"\n## {title}\n\n{text}" for title, text in sections())


def sections() -> Iterator[tuple[str, str]]:
    """Title and text of each command's part."""
    for name, model in BY_SCRIPT.items():
        yield f"{name}.py", of_model(model)
        if name == "train":
            start = "Of `train.py`; where `SM_HPS` is set it holds them."
            yield "Hyperparameters", f"{start}\n\n{of_model(TrainingConfig)}"
    yield "Settings", settings()
    launcher = f"`launch/NAME.py`, where NAME is an experiment; the defaults are those of `{EXPERIMENT}`."
    yield "Launchers", f"{launcher}\n\n{table(flags.parser(find_experiment(EXPERIMENT)))}"
    yield "predict.py", table(predicting.parser())
    yield "camera_trap.py", table(command_line.parser())


def settings() -> str:
    """The table of what trapline.toml can hold."""
    rows = [
        f"| `{name}` | `{VARIABLE}{name.upper()}` | {_cell(info.description or '')} |"
        for name, info in LauncherSettings.model_fields.items()
    ]
    start = f"Of `{FILE}`; a variable counts where the file does not say it, a flag before both."
    return "\n".join([start, "", "| setting | variable | what |", "| --- | --- | --- |", *rows]) + "\n"


def of_model(model: type[Options]) -> str:
    """The table of what a configuration adds to a command line."""
    parser = ArgumentParser(add_help=False)
    add_options(parser, model)
    return table(parser)


def table(parser: argparse.ArgumentParser) -> str:
    """A row for each option: its name, what it takes, and its help."""
    rows = [
        _row(action)
        for action in parser._actions
        if action.help != argparse.SUPPRESS and action.dest != "help"
    ]
    return "\n".join(["| option | takes | what |", "| --- | --- | --- |", *rows]) + "\n"


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    what = _help(action)
    return f"| `{name}` | {_takes(action)} | {what} |"


def _takes(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    shown = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    text = " ".join(shown) if isinstance(shown, tuple) else str(shown)
    return f"`{_cell(text)}`" + (" ..." if action.nargs in ("+", "*") else "")


def _help(action: argparse.Action) -> str:
    """The help with its placeholders filled in, as argparse does."""
    return _cell(" ".join((action.help or "").split()) % vars(action))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
