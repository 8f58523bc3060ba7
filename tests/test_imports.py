"""The import rule of the architecture, names that must not shadow a module, and the sizes of its parts."""

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (  # of the package that jobs are given, each of which may import those before it
    "ground", "scoring", "images", "data", "preparation", "models", "training", "inference", "evaluation",
    "formats", "reports",
)  # fmt: skip
APART = {("models", "images"), ("models", "data"), ("models", "preparation"), ("training", "preparation")}
NOT_SHIPPED = ("front", "predicting", "launching", "pipeline")
SCRIPTS = ("entry_points", "launch", "pipelines")
LAW = {
    **{
        room: {earlier for earlier in ROOMS[:number] if (room, earlier) not in APART}
        for number, room in enumerate(ROOMS)
    },
    "front": set(ROOMS),
    "predicting": set(ROOMS) - {"reports"},
    "launching": {*ROOMS, "predicting"},
    "pipeline": {*ROOMS, "launching"},
    "entry_points": set(ROOMS),
    "launch": {*ROOMS, *NOT_SHIPPED},
    "pipelines": {*ROOMS, *NOT_SHIPPED},
}
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 400, 60
SDK = "trapline.launching.sdk"
# The floors of launching, each with its folders and modules, of which the longest name counts. What is on a
# floor imports what is beside it or below; `pipeline` is the roof over all.
FLOORS = (
    ("checkout given_options terminal "
     "aws.errors aws.options checking.findings "
     "local.docker_engine local.failures local.user_files local.workspace"),
    "plan",
    "sdk",
    "checking pricing",
    "aws local",
    "fetching results flags settings",
    "many",
    "dispatch",
    "commands",
)  # fmt: skip


def modules():
    """Dotted name -> file, of all that is not tests."""
    bases = {ROOT / "src" / "common": ["trapline"], ROOT: SCRIPTS}
    return {
        ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): path
        for base, folders in bases.items()
        for folder in folders
        for path in sorted((base / folder).rglob("*.py"))
    }


MODULES = modules()


def imported_names(source, package):
    """Every name that is imported, wherever the import stands; relative ones from `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(filter(None, (above, node.module)))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def package_of(module, path):
    return module if path.stem == "__init__" else module.rpartition(".")[0]


IMPORTED = {
    module: set(imported_names(path.read_text(encoding="utf-8"), package_of(module, path)))
    for module, path in MODULES.items()
}


def arrows():
    """Module -> modules of the project that it imports."""
    found = {}
    for module, names in IMPORTED.items():
        own = set()
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            own.add(name)
        found[module] = own - {"", module}
    return found


ARROWS = arrows()


def room_of(module):
    first, *rest = module.split(".")
    if first != "trapline":
        return first
    return rest[0] if rest and (ROOT / "src" / "common" / "trapline" / rest[0]).is_dir() else "ground"


def circles(graph):
    """What is left of a graph without whatever leads nowhere, and whatever nothing leads to."""
    left = graph
    while True:
        reached = set().union(*left.values())
        kept = {
            module: others & left.keys()
            for module, others in left.items()
            if module in reached and others & left.keys()
        }
        if kept == left:
            return left
        left = kept


def test_no_module_imports_itself_by_way_of_others():
    assert circles(ARROWS) == {}


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": set()}
    assert circles(graph) == {"a": {"b"}, "b": {"c"}, "c": {"a"}}


def test_an_import_counts_wherever_it_stands():
    source = """
from typing import TYPE_CHECKING
from . import near
from ..far import thing
if TYPE_CHECKING:
    from a.b import C
def late():
    import d.e
"""
    found = set(imported_names(source, "house.room"))
    assert found == {"typing.TYPE_CHECKING", "house.room.near", "house.far.thing", "a.b.C", "d.e"}


@pytest.mark.parametrize("room", LAW)
def test_a_room_imports_only_what_it_may(room):
    members = [module for module in MODULES if room_of(module) == room]
    assert members
    wrong = {
        (module, other)
        for module in members
        for other in ARROWS[module]
        if room_of(other) not in {room, *LAW[room]}
    }
    assert wrong == set()


def floor_of(module):
    """The number of a module's floor in launching, and the name that says so."""
    own = module.removeprefix("trapline.launching.")
    names = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
    found = [name for name in names if own == name or own.startswith(f"{name}.")]
    assert found, f"{module}: on which floor of launching is it?"
    return names[max(found, key=len)]


def test_launching_runs_downhill():
    inside = [module for module in MODULES if module.startswith("trapline.launching.")]
    wrong = {
        (module, other)
        for module in inside
        for other in ARROWS[module] & set(inside)
        if floor_of(other) > floor_of(module)
    }
    assert wrong == set()


@pytest.mark.parametrize("folder", SCRIPTS)
def test_a_script_imports_the_library_and_no_other_script(folder):
    reached = {other for module in MODULES if room_of(module) == folder for other in ARROWS[module]}
    assert {other.split(".")[0] for other in reached} == {"trapline"}


def test_the_sagemaker_sdk_is_imported_in_one_folder():
    importing = {
        module
        for module, names in IMPORTED.items()
        if any(name.split(".")[0] == "sagemaker" for name in names)
    }
    assert importing
    assert all(module == SDK or module.startswith(f"{SDK}.") for module in importing), importing


@pytest.mark.parametrize("folder", SCRIPTS)
def test_no_script_shadows_a_standard_or_installed_module(folder):
    installed = set(metadata.packages_distributions())
    names = {path.stem for path in (ROOT / folder).glob("*.py")}
    names |= {path.name for path in (ROOT / folder).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not names & (installed | set(sys.stdlib_module_names))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_and_each_of_its_functions_is_read_in_one_sitting(module):
    source = MODULES[module].read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [node.name for node in functions if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES]
    assert not long
