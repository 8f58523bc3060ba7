"""Say once for all commands where data lie and jobs run: show trapline.toml's settings, or write them.

    python launch/settings.py
    python launch/settings.py data=demo backend=process
    python launch/settings.py bucket=BUCKET role=arn:aws:iam::123456789012:role/NAME region=eu-west-1
    python launch/settings.py image=

Without NAME=VALUE a terminal is asked for each; elsewhere every value is shown with where it comes from. An
empty value removes a setting. The file is the nearest trapline.toml, from the working folder upwards, else a
new one in the working folder. Flags of a command come before it, variables (TRAPLINE_DATA, ...) after it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from trapline.console import ArgumentParser, table
from trapline.errors import UsageError
from trapline.launching.given_options import read_pairs
from trapline.launching.settings import (
    FILE,
    VARIABLE,
    LauncherSettings,
    check_value,
    read_file,
    read_settings,
    settings_file,
)
from trapline.storage import atomic_file

DESCRIPTIONS = {name: info.description or "" for name, info in LauncherSettings.model_fields.items()}


def parser() -> ArgumentParser:
    """The command line."""
    shown = "\n".join(f"  {name:<9}{text}" for name, text in DESCRIPTIONS.items())
    arguments = ArgumentParser(description=__doc__, epilog=f"settings:\n{shown}")
    arguments.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="what to write")
    return arguments


def main() -> None:
    """Write what is given or answered, and show what counts."""
    given = parser().parse_args().settings
    path = settings_file() or Path.cwd() / FILE
    changes = read_pairs("settings.py", given) if given else _asked(path)
    for name, value in changes.items():
        if name not in DESCRIPTIONS or value:
            check_value(name, value)
    if changes:
        write_settings(path, changes)
        print(f"written: {path}")
    _show()


def write_settings(path: Path, changes: Mapping[str, str]) -> None:
    """Change settings in the file; other lines, comments among them, stay. An empty value removes one."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in changes]
    # JSON's text is TOML's, but for a character that no path has.
    added = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in changes.items() if value]
    with atomic_file(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in [*kept, *added])


def _asked(path: Path) -> dict[str, str]:
    """What a person types for each setting, where one can be asked; Enter leaves it, a dash removes it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return {}
    now = read_file(path) if path.is_file() else {}
    print(f"{path}: Enter leaves a value as it is, - removes it")
    changes = {name: _answer(name, text, now.get(name)) for name, text in DESCRIPTIONS.items()}
    return {name: value for name, value in changes.items() if value is not None}


def _answer(name: str, text: str, now: str | None) -> str | None:
    while True:
        typed = input(f"{name}, {text}{f' [{now}]' if now else ''}: ").strip()
        if typed in ("", "-"):
            return "" if typed and now else None
        try:
            check_value(name, typed)
        except UsageError as error:
            print(error)
        else:
            return typed


def _show() -> None:
    found = read_settings()
    rows = [
        [name, found[name].value if name in found else "", found[name].source if name in found else ""]
        for name in DESCRIPTIONS
    ]
    print(table(["setting", "value", "from"], rows))
    if not found:
        print(f"nothing is set; NAME=VALUE writes {FILE}, and variables such as {VARIABLE}DATA count, too")
