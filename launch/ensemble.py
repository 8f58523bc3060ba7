"""Average trained models: one artefact that answers with the mean of its members."""

from trapline.console import run
from trapline.launching.commands.ensemble import main

if __name__ == "__main__":
    run(main)
