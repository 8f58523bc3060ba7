"""Fetch the model of a run and unpack it, checked: from this machine, from S3, or from a SageMaker job."""

from trapline.console import run
from trapline.launching.commands.artifacts import main

if __name__ == "__main__":
    run(main)
