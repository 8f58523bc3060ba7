"""Serve a model over HTTP: GET /ping, GET /execution-parameters, POST /invocations.

In SageMaker the model lies in /opt/ml/model and SAGEMAKER_BIND_TO_PORT names the port; elsewhere `--model`
and `--port` do. SIGTERM ends it with exit code 0, after the requests in progress are answered.
"""

import os
import sys
from pathlib import Path

from common.console import ArgumentParser, run
from common.hyperparameters import hyphenated
from common.inference.signals import end_on_sigterm

MODEL_FOLDER = "/opt/ml/model"


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--model", metavar="DIR|model.tar.gz", help=f"default: SM_MODEL_DIR, else {MODEL_FOLDER}"
    )
    arguments.add_argument(
        "--port", type=int, help="default: SAGEMAKER_BIND_TO_PORT, else 8080; 0 takes a free one"
    )
    arguments.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    return arguments


def main() -> None:
    """Parse, load, serve."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    end_on_sigterm()  # before the imports that take seconds
    # Threads that spin while they wait take the cores from those that decode. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from common.inference.running import serve
    from common.inference.settings import settings_from

    model = flags.model or os.environ.get("SM_MODEL_DIR") or MODEL_FOLDER
    serve(Path(model), settings_from(os.environ, flags.port), flags.host)


if __name__ == "__main__":
    run(main)
