"""The metrics of one or more trainings as a table, a summary, curves.csv and curves.png."""

from trapline.console import run
from trapline.launching.commands.curves import main

if __name__ == "__main__":
    run(main)
