"""Print the IAM policies for your account: what jobs, users, image pushes and schedules need."""

from trapline.console import run
from trapline.launching.commands.policies import main

if __name__ == "__main__":
    run(main)
