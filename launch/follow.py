"""Follow a job on AWS to its end: its log, how far it is, and how it ends. Ctrl-C leaves it running."""

from trapline.console import run
from trapline.launching.commands.follow import main

if __name__ == "__main__":
    run(main)
