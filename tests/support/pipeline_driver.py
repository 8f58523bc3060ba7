"""The pipeline's command with little jobs in the place of the real ones."""

from pathlib import Path

from trapline import job_contract
from trapline.console import run
from trapline.launching import checkout
from trapline.pipeline import command_line  # noqa: F401  # checks options by the real prepare.py
from trapline.pipeline.running import main

JOBS = Path(__file__).parents[1] / "pipeline" / "little_jobs"

if __name__ == "__main__":
    checkout.entry_points = lambda: JOBS
    job_contract.LIBRARY = JOBS / "trapline"  # there is none: they need nothing of it
    run(main)
