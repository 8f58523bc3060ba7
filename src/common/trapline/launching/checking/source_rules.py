"""The source folder of a job: whether all that it imports is there, and nothing that does not belong."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trapline.errors import TraplineError
from trapline.launching import checkout
from trapline.launching.checking.findings import Finding
from trapline.launching.checking.secret_patterns import secrets_in

STEP = "source"
LARGEST = 10 * 2**20  # bytes of a file of code
IMAGE_REQUIREMENTS = "docker/requirements.txt"
# What of ours is imported by another name than it is installed by.
IMPORTED_AS = {
    "opencv-python-headless": ("cv2",),
    "pillow": ("PIL",),
    "scikit-learn": ("sklearn",),
    "sagemaker-pytorch-training": ("sagemaker_pytorch_container",),
}
# What comes with another, and is imported by itself too.
BROUGHT = {"boto3": ("botocore",), "albumentations": ("albucore",)}
# What AWS's deep-learning images have beside the requirements that are installed there.
IN_AWS_IMAGE = ("torch", "torchvision", "sagemaker-training", "sagemaker-pytorch-training")
HOLDERS = (ast.stmt, ast.excepthandler, ast.match_case)  # of statements; expressions import nothing
FORBIDDEN = {
    "requirements.txt": "the toolkit would install it when the job starts: it fails without internet and can "
    "replace the image's torch; docker/requirements.txt is the image's",
    "setup.py": "the toolkit would install the folder and start python -m; the scripts are started by path",
}


@dataclass(frozen=True)
class Import:
    """One import: its line, and the dotted name of a module that must be there."""

    line: int
    module: str


def check_source(folder: Path, requirements: Iterable[str] | None = None) -> tuple[list[Finding], int]:
    """What is wrong with a staged folder, by file and line, and how many files it has.

    `requirements`: lines of the requirements.txt that the launcher itself put there, for AWS's image; None:
    the project's own image. Raises TraplineError where docker/requirements.txt cannot be read.
    """
    installed = _importable(_image_lines() if requirements is None else [*requirements, *IN_AWS_IMAGE])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    findings = [
        finding
        for path in files
        for finding in _check_file(path, folder, installed, staged=requirements is not None)
    ]
    return findings, len(files)


def _image_lines() -> list[str]:
    path = checkout.root() / IMAGE_REQUIREMENTS
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TraplineError(f"{path}: {error.strerror}; check from a whole checkout of Trapline") from None


def _importable(lines: Iterable[str]) -> frozenset[str]:
    """The top-level modules of requirement lines."""
    names = {match[0].lower().replace("_", "-") for line in lines if (match := re.match(r"[\w.-]+", line))}
    modules = {module for name in names for module in IMPORTED_AS.get(name, (name.replace("-", "_"),))}
    return frozenset(modules.union(*(BROUGHT.get(name, ()) for name in names)))


def _check_file(path: Path, folder: Path, installed: frozenset[str], *, staged: bool) -> Iterator[Finding]:
    name = path.relative_to(folder).as_posix()
    if name in FORBIDDEN and not (staged and name == "requirements.txt"):
        yield Finding(STEP, name, "file", FORBIDDEN[name])
    if "__pycache__" in path.parts:
        yield Finding(STEP, name, "file", "compiled code changes the code's hash; leave it out")
        return
    size = path.stat().st_size
    if size > LARGEST:
        said = f"{size / 2**20:.0f} MiB is not code (at most {LARGEST // 2**20}); make it an input of the job"
        yield Finding(STEP, name, "size", said)
        return
    text = path.read_bytes().decode(errors="replace")
    for kind, place in secrets_in(text):
        line = text.count("\n", 0, place) + 1
        said = f"looks like {kind}; take it out, and let the job's role give access"
        yield Finding(STEP, f"{name}:{line}", "secret", said)
    if path.suffix == ".py":
        yield from _check_imports(text, path, name, folder, installed)


def _check_imports(
    text: str, path: Path, name: str, folder: Path, installed: frozenset[str]
) -> Iterator[Finding]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield Finding(STEP, f"{name}:{error.lineno}", "syntax", f"is no Python ({error.msg})")
        return
    package = path.parent.relative_to(folder).parts
    for one in _imports(tree, package):
        top = one.module.partition(".")[0]
        if top in sys.stdlib_module_names or top in installed:
            continue
        if not _in_folder(folder, one.module):
            where = "not in the folder" if _in_folder(folder, top) else "in neither folder nor image"
            said = f"{one.module}: {where}; add it there, or to docker/requirements.txt"
            yield Finding(STEP, f"{name}:{one.line}", "import", said)


def _in_folder(folder: Path, module: str) -> bool:
    path = folder.joinpath(*module.split("."))
    return path.with_name(f"{path.name}.py").is_file() or path.is_dir()


def _imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[Import]:
    """Every import, those in functions too; not what is for type checkers, or may be missing."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = [alias.name for alias in node.names] if not node.module else []
            yield from (
                Import(node.lineno, one)
                for one in [".".join([module, n]).strip(".") for n in names] or [module]
            )
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from _imports(other, package)
        elif isinstance(node, HOLDERS) and not (isinstance(node, ast.Try) and _may_be_missing(node)):
            yield from _imports(node, package)


def _may_be_missing(node: ast.Try) -> bool:
    caught = " ".join(ast.dump(handler.type) for handler in node.handlers if handler.type)
    return "ImportError" in caught or "ModuleNotFoundError" in caught
