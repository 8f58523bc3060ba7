"""The pipeline's command with little jobs in the place of the real ones."""

from pathlib import Path

from common.console import run
from launch import staging
from pipelines import command_line  # noqa: F401  # checks options by the real prepare.py
from pipelines.camera_trap import main

JOBS = Path(__file__).with_name("little_jobs")

if __name__ == "__main__":
    staging.ENTRY_POINTS = JOBS
    staging.COMMON = JOBS / "common"  # there is none: they need nothing of it
    run(main)
