"""What a little job shall do: orders.json in the data says which one fails, waits, or answers what."""

import json
import os
import sys
import time
from pathlib import Path


def option(name):
    """The value of a flag of the command line, in the next word or after an equals sign."""
    for number, word in enumerate(sys.argv):
        flag, equals, value = word.partition("=")
        if flag == name:
            return Path(value if equals else sys.argv[number + 1])
    raise ValueError(f"no {name} in {sys.argv}")


def obey(folder, job):
    """Do what orders.json in `folder` says about `job`, and return the orders."""
    path = folder / "orders.json"
    orders = json.loads(path.read_text()) if path.exists() else {}
    print(f"{job} is running", flush=True)
    if job == orders.get("waits"):
        time.sleep(60)
    until = orders.get("until")
    if job == orders.get("fails") and not (until and Path(until).exists()):
        message = f"{job} cannot go on"
        base = Path(os.environ["SAGEMAKER_BASE_DIR"])
        (base / "output").mkdir(exist_ok=True)
        (base / "output" / ("failure" if job.startswith("train") else "message")).write_text(message)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)
    return orders
