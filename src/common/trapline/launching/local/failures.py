"""What a job that failed on this machine says of it: never nothing."""

import re
import signal
from collections.abc import Iterable
from pathlib import Path

# The toolkit's own words where the script left none: half a screen of command line, often no more.
TOOLKIT = re.compile(
    r'\w+:\nExitCode (?P<code>-?\d+)\nErrorMessage "(?P<said>.*)"\n(ExtraInfo|Command) "', re.DOTALL
)
NODE = r"(?P<node>\[node \d+\] )?"
OWN_LINE = re.compile(NODE + r"error: (?P<said>\S.*)")  # of trapline.console.run
EXCEPTION_LINE = re.compile(NODE + r"(?P<said>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)(: .*)?)")
TAIL = 64 * 1024  # bytes of a log in which a failure's reason is looked for
SHOWN = 300  # characters of a line


def failure_of(folders: Iterable[Path], code: int, log: Path | None, shown_as: str) -> str:
    """Why a job ended with the exit code `code`.

    `folders`: of its nodes, which wrote about it for the platform; they are named `shown_as` in what is
    returned. `log`: of its output. The nodes' own words come first, then the toolkit's, then the log's.
    """
    written = [said for folder in folders if (said := _written(folder, shown_as))]
    if own := [said for said in written if not TOOLKIT.match(said)]:
        return own[0]
    for found in filter(None, map(TOOLKIT.match, written)):
        code = int(found["code"])
        if said := found["said"].strip():
            return f"the job's command {_ended(code)}: {said}"
    return f"the job {_ended(code)} and left no message; {_from_log(log)}"


def _written(folder: Path, shown_as: str) -> str:
    for name in ("failure", "message"):
        path = folder / "output" / name
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                if text := file.read(TAIL).strip():
                    return text.replace(str(folder), shown_as)
    return ""


def _ended(code: int) -> str:
    killed = code - 128 if code > 128 else -code
    if code < 0 or code > 128:
        hint = ", as systems do where memory runs out," if killed == signal.SIGKILL else ""
        return f"was killed by signal {killed}{hint}"
    return f"ended with exit code {code}"


def _from_log(log: Path | None) -> str:
    if log is None or not log.is_file():
        return "its log says more"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        tail = file.read().decode(errors="replace")
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()]
    if not lines:
        return f"its log {log} is empty"
    for pattern in (OWN_LINE, EXCEPTION_LINE):
        for line in reversed(lines):
            if found := pattern.fullmatch(line):
                return f"its log {log} says: {(found['node'] or '') + found['said'][:SHOWN]}"
    return f"its log {log} ends with: {lines[-1][:SHOWN]}"
