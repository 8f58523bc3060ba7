"""Whether a launch, a tuner or a pipeline is sound: all rules together, before the first cent.

The requests keep to the rules of this folder; of the source folder of a job all that it imports is there, and
nothing that does not belong. What can be known on this machine is: nothing here asks AWS.
"""

import ast
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.checking.field_rules import check_rules
from trapline.launching.checking.findings import Finding, Request, refuse, secrets_in
from trapline.launching.checking.pipeline_definition import check_definition
from trapline.launching.checking.service_model import check_request, count_values
from trapline.launching.checkout import missing_from_aws_image, root, stage_code

DEFINITION = "PipelineDefinition"
NAME = re.compile(r"(Training|Processing|Transform|HyperParameterTuning|Pipeline)(Job)?Name|Bucket|Name")
STEP = "source"
LARGEST = 10 * 2**20  # bytes of a file of code
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
class CheckResult:
    """What was found, and how much was looked at."""

    findings: tuple[Finding, ...] = ()
    requests: int = 0
    values: int = 0
    files: int = 0

    def __add__(self, other: "CheckResult") -> "CheckResult":
        """Both together."""
        return CheckResult(
            self.findings + other.findings,
            self.requests + other.requests,
            self.values + other.values,
            self.files + other.files,
        )


def check_requests(
    requests: Iterable[Mapping[str, Any]], region: str | None = None, *, of_aws: bool = False
) -> CheckResult:
    """What is found in requests as a dry run records them, {operation: parameters} each.

    `region`: of the jobs, where known. `of_aws`: they run in AWS's image. The definition in a pipeline's
    request is checked step by step.
    """
    return sum(
        (
            _check_one(operation, parameters, region, of_aws)
            for request in requests
            for operation, parameters in request.items()
        ),
        CheckResult(),
    )


def _check_one(
    operation: str, parameters: Mapping[str, Any], region: str | None, of_aws: bool
) -> CheckResult:
    names = [value for key, value in parameters.items() if NAME.fullmatch(key) and isinstance(value, str)]
    title = " ".join([operation, *(name[:63] for name in names[:1])])
    plain = {name: value for name, value in parameters.items() if name != DEFINITION}
    rules = check_rules(Request(title, operation, plain, region, of_aws))
    definition = parameters.get(DEFINITION)
    if not isinstance(definition, str):
        return CheckResult((*check_request(operation, parameters, title), *rules), 1, count_values(plain))
    # In the place of a definition, which is checked by itself, stands an empty one.
    findings = check_request(operation, {**plain, DEFINITION: "{}"}, title)
    found, values = check_definition(definition, region)
    return CheckResult((*findings, *rules, *found), 1, count_values(plain) + values)


def check_code(*, of_aws: bool = False) -> CheckResult:
    """What is found in the source folder as it would be staged; `of_aws`: for AWS's image."""
    requirements = missing_from_aws_image() if of_aws else None
    with tempfile.TemporaryDirectory(prefix="trapline-check-") as folder:
        findings, files = check_source(stage_code(Path(folder) / "code", requirements), requirements)
    return CheckResult(tuple(findings), files=files)


def require_sound(
    requests: Sequence[Mapping[str, Any]], region: str | None = None, *, of_aws: bool = False
) -> None:
    """Raise UsageError listing what is wrong with the requests or with the code; before a paid start.

    Takes 0.4 s on two cores, most of it for the code.
    """
    refuse((check_requests(requests, region, of_aws=of_aws) + check_code(of_aws=of_aws)).findings)


def with_values(definition: str, values: Mapping[str, Any]) -> str:
    """A pipeline's definition in which the parameters' defaults are the values of an execution."""
    content = json.loads(definition)
    for item in content.get("Parameters", []):
        if item.get("Name") in values:
            item["DefaultValue"] = values[item["Name"]]
    return json.dumps(content)


# --- the code of a job --------------------------------------------------------------------------------------


def check_source(folder: Path, requirements: Iterable[str] | None = None) -> tuple[list[Finding], int]:
    """What is wrong with a staged folder, by file and line, and how many files it has.

    `requirements`: lines of the requirements.txt that the launcher itself put there, for AWS's image; None:
    the project's own image. Raises TraplineError where docker/requirements.txt cannot be read.
    """
    known = _importable(_image_lines() if requirements is None else [*requirements, *IN_AWS_IMAGE])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        finding
        for path in files
        for finding in _check_file(path, folder, known, staged=requirements is not None)
    ], len(files)


def _image_lines() -> list[str]:
    path = root() / "docker/requirements.txt"
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TraplineError(f"{path}: {error.strerror}; check from a whole checkout of Trapline") from None


def _importable(lines: Iterable[str]) -> frozenset[str]:
    """The top-level modules of requirement lines, and those of Python itself."""
    names = {match[0].lower().replace("_", "-") for line in lines if (match := re.match(r"[\w.-]+", line))}
    modules = {module for name in names for module in IMPORTED_AS.get(name, (name.replace("-", "_"),))}
    return sys.stdlib_module_names.union(modules, *(BROUGHT.get(name, ()) for name in names))


def _check_file(path: Path, folder: Path, known: frozenset[str], *, staged: bool) -> Iterator[Finding]:
    name = path.relative_to(folder).as_posix()
    if name in FORBIDDEN and not (staged and name == "requirements.txt"):
        yield Finding(STEP, name, "file", FORBIDDEN[name])
    if "__pycache__" in path.parts:
        yield Finding(STEP, name, "file", "compiled code changes the code's hash; leave it out")
        return
    size = path.stat().st_size
    if size > LARGEST:
        yield Finding(
            STEP,
            name,
            "size",
            f"{size / 2**20:.0f} MiB is not code (at most {LARGEST // 2**20}); make it an input of the job",
        )
        return
    text = path.read_bytes().decode(errors="replace")
    for kind, start in secrets_in(text):
        line = text.count("\n", 0, start) + 1
        yield Finding(
            STEP,
            f"{name}:{line}",
            "secret",
            f"looks like {kind}; take it out, and let the job's role give access",
        )
    for place, rule, said in _import_problems(text, path, folder, known) if path.suffix == ".py" else ():
        yield Finding(STEP, f"{name}:{place}", rule, said)


def _import_problems(
    text: str, path: Path, folder: Path, known: frozenset[str]
) -> Iterator[tuple[int | None, str, str]]:
    """Line, rule and what is wrong of each import that would find nothing, or of a text that is no Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno, "syntax", f"is no Python ({error.msg})"
        return
    for line, module in _imports(tree, path.parent.relative_to(folder).parts):
        top = module.partition(".")[0]
        if top not in known and not _in_folder(folder, module):
            where = "not in the folder" if _in_folder(folder, top) else "in neither folder nor image"
            yield line, "import", f"{module}: {where}; add it there, or to docker/requirements.txt"


def _in_folder(folder: Path, module: str) -> bool:
    path = folder.joinpath(*module.split("."))
    return path.with_name(f"{path.name}.py").is_file() or path.is_dir()


def _imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """The line of every import, and the dotted name of a module that must be there.

    Those in functions too; not what is for type checkers, or may be missing.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.lineno, ".".join([*above, module])) for module in modules)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from _imports(other, package)
        elif isinstance(node, HOLDERS) and not (isinstance(node, ast.Try) and _may_be_missing(node)):
            yield from _imports(node, package)


def _may_be_missing(node: ast.Try) -> bool:
    caught = " ".join(ast.dump(handler.type) for handler in node.handlers if handler.type)
    return "ImportError" in caught or "ModuleNotFoundError" in caught
