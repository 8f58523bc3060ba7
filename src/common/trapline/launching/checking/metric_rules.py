"""The regexes of a request against the line that the job prints: each must read its metric's value."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.settled_requests import Training, at
from trapline.metrics import BY_NAME, format_line, format_value

DEFINITIONS = "AlgorithmSpecification.MetricDefinitions"


def _lines() -> list[tuple[str, dict[str, float]]]:
    """Lines as a job prints them, and what must be read: values that tell the metrics apart."""
    plain = {name: 11.5 + number for number, name in enumerate(BY_NAME)}
    signed = {name: -1.25e-05 * (number + 1) for number, name in enumerate(BY_NAME)}
    whole: dict[str, float] = {name: 3 + number for number, name in enumerate(BY_NAME)}
    return [
        (format_line(plain), plain),
        (f"\r algo-1-x | {format_line(signed)}\r", signed),
        (f"epoch 3 {format_line(whole)} said", whole),
    ]


LINES = _lines()
NOT_A_NUMBER = format_line(dict.fromkeys(BY_NAME, math.nan))


def check_metrics(training: Training) -> Iterator[Finding]:
    """A regex that does not compile or misses, two of a name, a name that no line prints, a metric unread."""
    given = at(training.body, DEFINITIONS, (list, tuple))
    if given is None or not training.request.current:
        return
    names = [item.get("Name") for item in given if isinstance(item, Mapping)]
    for number, item in enumerate(given):
        if not isinstance(item, Mapping) or not isinstance(item.get("Name"), str):
            continue  # the service model's to say
        problem = _problem(item, names[:number])
        if problem:
            yield training.found(f"{DEFINITIONS}[{number}].{problem[0]}", "metric", problem[1])
    for name in BY_NAME.keys() - set(names) if all(isinstance(name, str) for name in names) else ():
        yield training.found(DEFINITIONS, "metric", f"{name}: the job prints it and no definition reads it")


def _problem(item: Mapping[str, Any], before: list[Any]) -> tuple[str, str] | None:
    """The member that is wrong, and why."""
    name, regex = item["Name"], item.get("Regex")
    if name in before:
        return "Name", f"{shown(name)}: defined twice"
    if not isinstance(regex, str):
        return None
    try:
        compiled = re.compile(regex)
    except re.error as error:
        return "Regex", f"{name}: is no regular expression ({error})"
    if compiled.groups < 1:
        return "Regex", f"{name}: must have a group, which is the value"
    if name not in BY_NAME:
        known = ", ".join(BY_NAME)
        return "Name", f"{shown(name)}: no line of the job prints it; the metric registry has {known}"
    return _misread(name, compiled)


def _misread(name: str, regex: re.Pattern[str]) -> tuple[str, str] | None:
    for line, values in LINES:
        match = regex.search(line)
        expected = format_value(values[name])
        if match is None:
            return "Regex", f"{name}: does not match the line that the job prints"
        if match[1] != expected:
            return "Regex", f"{name}: reads {shown(match[1])} where the job printed {expected}"
    if regex.search(NOT_A_NUMBER):
        return "Regex", f"{name}: matches where the job printed nan"
    return None
