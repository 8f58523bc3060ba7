"""Compare runs: one line each, at the best epoch of each, the best run first."""

from trapline.console import run
from trapline.launching.commands.compare import main

if __name__ == "__main__":
    run(main)
