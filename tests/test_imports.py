"""The import rule of the architecture, and names that must not shadow a module."""

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMON = {"ground", *(f"common.{name}" for name in ("data", "models", "training", "inference", "reports"))}
LAYERS = {  # package -> what it may import of the project, itself apart
    "pipelines": {"launch", *COMMON},
    "launch": COMMON,
    "entry_points": COMMON,
    "ground": set(),
    "common.data": {"ground"},
    "common.models": {"ground"},
    "common.training": {"ground", "common.data", "common.models"},
    "common.inference": {"ground", "common.data", "common.models", "common.training"},
    "common.reports": {"ground", "common.data", "common.models", "common.training", "common.inference"},
}
FOLDERS = ["entry_points", "launch", "pipelines", "src/common"]
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def module_name(path):
    relative = path.relative_to(ROOT / "src" if "src" in path.parts else ROOT)
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


def layer_of(module):
    matching = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    if matching:
        return max(matching, key=len)
    return "ground" if module.split(".")[0] == "common" else None


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_name(path))
def test_a_module_imports_only_what_its_layer_may(path):
    own = layer_of(module_name(path))
    layers = {layer_of(module) for module in imported_modules(path)} - {own, None}
    assert layers <= LAYERS[own]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_name(path))
def test_common_and_the_entry_points_need_no_sagemaker_sdk(path):
    if layer_of(module_name(path)) not in ("launch", "pipelines"):
        assert not [name for name in imported_modules(path) if name.split(".")[0] == "sagemaker"]


@pytest.mark.parametrize("folder", ["entry_points", "launch", "pipelines"])
def test_no_script_shadows_a_standard_or_installed_module(folder):
    installed = set(metadata.packages_distributions()) - {"launch", "pipelines"}
    names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    names |= {path.name for path in (ROOT / folder).iterdir() if (path / "__init__.py").exists()}
    assert not names & (installed | set(sys.stdlib_module_names))


def test_every_package_is_distributed():
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for folder in sorted({path.parent for path in SOURCES if path.name == "__init__.py"}):
        assert f'"{module_name(folder / "__init__.py")}"' in declared
