"""Six architectures by three optimizers on images with several labels: which is best, which may be used."""

from trapline.console import run
from trapline.launching.commands.multilabel_sweep import main

if __name__ == "__main__":
    run(main)
