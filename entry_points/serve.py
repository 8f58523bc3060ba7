"""Serve a model over HTTP: GET /ping, GET /execution-parameters, POST /invocations.

In SageMaker the model lies in /opt/ml/model and SAGEMAKER_BIND_TO_PORT names the port; elsewhere `--model`
and `--port` do. It can be reached from this machine alone; in a container `serve` passes `--host 0.0.0.0`.
SIGTERM ends it with exit code 0, after the requests in progress are answered. The `code/` that a model brings
is not run.
"""

import os
import sys
from pathlib import Path

from trapline.console import run
from trapline.inference.signals import end_on_sigterm
from trapline.job_options import ServeOptions
from trapline.options import read_options

MODEL_FOLDER = "/opt/ml/model"


def main() -> None:
    """Parse, load, serve."""
    options = read_options(
        ServeOptions, sys.argv[1:], f"{__doc__.splitlines()[0]} The code/ that a model brings is not run."
    )
    end_on_sigterm()  # before the imports that take seconds
    # Threads that spin while they wait take the cores from those that decode. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trapline.inference.running import serve
    from trapline.inference.settings import settings_from
    from trapline.local_places import local_places

    with local_places(options) as local:
        model = local.model or os.environ.get("SM_MODEL_DIR") or MODEL_FOLDER
        serve(Path(model), settings_from(os.environ, local.port), local.host)


if __name__ == "__main__":
    run(main)
