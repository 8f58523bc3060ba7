"""A small reader of Frictionless Table Schemas: what of a package's tables does not hold what they demand."""

import csv
import json
import re
from collections import Counter
from datetime import datetime

TRUE_AND_FALSE = ("true", "True", "TRUE", "1", "false", "False", "FALSE", "0")


def read_cells(path):
    """The rows of a CSV, every cell as it is written."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def faults_of_package(folder, schemas):
    """What is wrong in deployments.csv, media.csv and observations.csv, by the schemas of a folder."""
    names = ("deployments", "media", "observations")
    tables = {name: read_cells(folder / f"{name}.csv") for name in names}
    faults = []
    for name in names:
        schema = json.loads((schemas / f"{name}-table-schema.json").read_text(encoding="utf-8"))
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        if header != [field["name"] for field in schema["fields"]]:
            faults.append(f"{name}: its columns are {header}")
        faults += [f"{name}: {fault}" for fault in _faults(tables[name], schema)]
        for key in schema.get("foreignKeys", []):
            known = _known(tables[key["reference"]["resource"]], key["reference"]["fields"])
            own = _known(tables[name], key["fields"]) - {""}
            faults += [
                f"{name}: {key['fields']} {value!r} resolves to nothing" for value in sorted(own - known)
            ]
    return faults


def _known(rows, column):
    return {row[column] for row in rows}


def _faults(rows, schema):
    for field in schema["fields"]:
        name, limits = field["name"], field.get("constraints", {})
        cells = [None if row[name] in schema["missingValues"] else row[name] for row in rows]
        for number, cell in enumerate(cells, start=2):
            fault = _fault(cell, field, limits)
            if fault:
                yield f"line {number}: {name} {cell!r} {fault}"
        if limits.get("unique") or schema["primaryKey"] == name:
            yield from (f"{name} {cell!r} comes {n} times" for cell, n in Counter(cells).items() if n > 1)


def _fault(cell, field, limits):
    if cell is None:
        return "is required" if limits.get("required") else None
    try:
        value = _value(cell, field)
    except ValueError:
        return f"is no {field['type']}"
    tests = (
        ("enum", lambda limit: value in limit),
        ("pattern", lambda limit: re.fullmatch(limit, cell)),
        ("minimum", lambda limit: value >= limit),
        ("maximum", lambda limit: value <= limit),
    )
    return next(
        (f"breaks {name}" for name, holds in tests if name in limits and not holds(limits[name])), None
    )


def _value(cell, field):
    if field["type"] == "number":
        return float(cell)
    if field["type"] == "integer":
        return int(cell)
    if field["type"] == "boolean" and cell not in TRUE_AND_FALSE:
        raise ValueError
    if field["type"] == "datetime":
        return datetime.strptime(cell, field["format"])
    return cell
