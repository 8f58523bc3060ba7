"""`results.json` in words."""

from collections.abc import Mapping
from typing import Any

RESULTS = "results.json"


def result_lines(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The results in words: name and text of each, for the log and the report."""
    speed, memory = results["speed"], results["memory"]
    lines = [("views' gain", _gain(results["views"]))]
    if results["phases"]:
        lines.append(("phase gain", _gain(results["phases"])))
    lines.append(
        (
            "speed-up",
            f"{speed['after'] / speed['before']:.2f} times: {speed['before']:.1f} to {speed['after']:.1f} "
            f"images/s with {speed['views']} views, {speed['precision']} on {speed['device']}, against one "
            "view at a time in fp32",
        )
    )
    saved = 1 - memory["after"] / memory["before"] if memory["before"] else 0.0
    lines.append(
        (
            "memory saved",
            f"{saved:.0%}: {memory['before']:.2f} to {memory['after']:.2f} MB kept of each image for the "
            f"backward pass, {memory['precision']} against fp32",
        )
    )
    if results.get("int8"):
        lines.append(("int8", int8_sentence(results["int8"])))
    return lines


def _gain(pair: dict[str, dict[str, float]]) -> str:
    before, after = pair["before"], pair["after"]
    parts = [
        f"{words} {before[name]:.4f} to {after[name]:.4f} ({after[name] - before[name]:+.4f})"
        for name, words in (("log_loss", "log loss"), ("accuracy", "accuracy"), ("map", "mAP"))
        if name in before
    ]
    return f"{', '.join(parts)} on validation"


def int8_sentence(section: Mapping[str, Any]) -> str:
    """What int8 costs and brings in one sentence; `section` is that of results.json."""
    part = "test" if section["test"] else "validation"
    name, words = ("micro_f1", "micro F1") if "micro_f1" in section[part] else ("accuracy", "accuracy")
    quality, size, speed = section[part][name], section["megabytes"], section["images_per_s"]
    return (
        f"{words} {quality['int8']:.3f} instead of {quality['normal']:.3f} on {part}, "
        f"{size['int8']:.0f} MB instead of {size['normal']:.0f}, "
        f"{speed['int8'] / speed['normal']:.1f} times the images/s of {section['precision']}"
    )
