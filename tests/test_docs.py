"""README.md, docs/ and the other pages: commands that are taken, links that lead somewhere, what is fresh."""

import ast
import importlib.util
import pkgutil
import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from tests.conftest import ROOT
from tests.support.commands import parse

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
PYTHON = re.compile(r"^(?:\.venv/bin/)?python3? ((?:launch|pipelines|entry_points)/\w+)\.py\b(.*)$")
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
FOLDERS = "src|tests|launch|pipelines|entry_points|benchmarks|docs|docker"
SCRIPT = re.compile(rf"(?<![\w/])(?:{FOLDERS})/[\w/-]+\.(?:py|sh)\b")
NAME = re.compile(r"`(trapline(?:\.[a-z]\w*)+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
MAX_LINES, MAX_COLUMNS = 200, 120


def commands(text):
    """The commands of the text's blocks of bash, each as one line without its comment."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s&&\s*", re.sub(r"\s+#.*", "", line)):
                if command.strip():
                    yield " ".join(command.removesuffix("&&").split())


COMMANDS = {command: page for page, text in TEXTS.items() for command in commands(text)}
OF_PYTHON = [
    (page, *found.groups()) for command, page in COMMANDS.items() if (found := PYTHON.match(command))
]


def test_there_are_commands_to_check():
    assert len(OF_PYTHON) > 40
    assert len({page for page, *_ in OF_PYTHON}) > 5


@pytest.mark.parametrize(("page", "path", "rest"), OF_PYTHON, ids=lambda text: text.strip()[:60])
def test_a_command_of_a_page_is_taken(page, path, rest, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_ROLE", raising=False)
    if path == "launch/swin_stage1" and not rest:  # stands as it is once settings are written
        monkeypatch.setenv("TRAPLINE_DATA", "s3://bucket/raw")
    parse(path, [word for word in shlex.split(rest) if word != "..."])


def test_every_script_that_a_page_names_is_there():
    named = {
        (page, name) for page, text in TEXTS.items() for name in SCRIPT.findall(text) if "NAME" not in name
    }
    assert len(named) > 20
    assert {(page, name) for page, name in named if not (ROOT / name).is_file()} == set()


def test_every_name_of_the_library_that_a_page_says_is_there():
    named = {name for text in TEXTS.values() for name in NAME.findall(text) if name != "trapline.toml"}
    assert len(named) > 5
    assert all(pkgutil.resolve_name(name) is not None for name in sorted(named))


def test_flags_of_the_build_script_are_its_own():
    usage = (ROOT / "docker" / "build.sh").read_text()
    built = [command for command in COMMANDS if command.startswith("docker/build.sh")]
    assert built
    for flag in re.findall(r"--[a-z-]+", " ".join(built)):
        assert f"  {flag} " in usage


def of_aws():
    """The commands of AWS's own command line, in blocks and in sentences; `aws s3` is no service's."""
    named = [*COMMANDS, *(found for text in TEXTS.values() for found in re.findall(r"`(aws [^`]+)`", text))]
    return sorted({name for name in named if name.startswith("aws ") and not name.startswith("aws s3 ")})


@pytest.mark.parametrize("command", of_aws())
def test_a_command_of_aws_is_one_that_the_service_has_with_these_parameters(command):
    _, service, verb, *words = shlex.split(command)
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    members = model.operation_model(operations[verb]).input_shape.members
    flags = {word.removeprefix("--") for word in words if word.startswith("--")}
    assert flags <= {xform_name(name, "-") for name in members}


def anchors(text):
    """What the headings of a page are reached by."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    folder = (ROOT / page).parent
    for link in LINK.findall(TEXTS[page]):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_reached_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(TEXTS["README.md"])}
    assert {path for path in PAGES if path != README} <= linked


def test_the_picture_and_the_table_of_the_architecture_hold_every_room():
    text = TEXTS["docs/architecture.md"]
    rooms = [path.parent.name for path in sorted((ROOT / "src/common/trapline").glob("*/__init__.py"))]
    assert len(rooms) > 10
    assert [room for room in rooms if f'{room}["{room}' not in text or f"| `{room}/` |" not in text] == []


def messages_of_ours():
    """The pieces of the messages that docs/troubleshooting.md quotes, but for AWS's error codes."""
    quoted = re.findall(r"^\| `([^`|]+)`", TEXTS["docs/troubleshooting.md"], re.MULTILINE)
    pieces = {piece.strip() for text in quoted if " " in text for piece in text.split("...")}
    return sorted(piece for piece in pieces if len(piece) > 2)


@pytest.fixture(scope="module")
def texts_of_the_code():
    trees = (
        ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "src/common/trapline").rglob("*.py")
    )
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "\n".join(text for text in constants if isinstance(text, str))


@pytest.mark.parametrize("piece", messages_of_ours())
def test_a_message_of_the_troubleshooting_page_is_one_that_the_code_says(piece, texts_of_the_code):
    assert piece in texts_of_the_code


def test_the_readme_is_read_in_five_minutes():
    lines = TEXTS["README.md"].splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


def test_the_reference_of_options_is_fresh():
    path = ROOT / "docs" / "make_options.py"
    specification = importlib.util.spec_from_file_location("make_options", path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    assert TEXTS["docs/options.md"] == script.page(), "run: python docs/make_options.py"
