"""Serve a model over HTTP: GET /ping, GET /execution-parameters, POST /invocations.

In SageMaker the model lies in /opt/ml/model and SAGEMAKER_BIND_TO_PORT names the port; elsewhere `--model`
and `--port` do. It can be reached from this machine alone; in a container `serve` passes `--host 0.0.0.0`.
SIGTERM ends it with exit code 0, after the requests in progress are answered. The `code/` that a model brings
is not run.
"""

import os
import signal
import sys
from pathlib import Path

from trapline.console import run
from trapline.job_options import ServeOptions
from trapline.options import read_options


def main() -> None:
    """Parse, load, serve."""
    options = read_options(
        ServeOptions, f"{__doc__.splitlines()[0]} The code/ that a model brings is not run."
    )
    # Process 1 of a container ignores SIGTERM unless it has a handler, so there is one before the imports
    # that take seconds. While the server runs, uvicorn puts its own in its place, answers what it has begun,
    # and then raises the signal again.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    # Threads that spin while they wait take the cores from those that decode. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trapline.inference.limits import settings_from
    from trapline.inference.serving import serve
    from trapline.s3_copies import local_places

    with local_places(options) as local:
        model = local.model or os.environ.get("SM_MODEL_DIR") or "/opt/ml/model"
        serve(Path(model), settings_from(os.environ, local.port), local.host)


if __name__ == "__main__":
    run(main)
