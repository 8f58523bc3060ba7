"""Check an experiment or the pipeline before it costs anything: every request, every step, the code."""

from trapline.console import run
from trapline.pipeline.check import main

if __name__ == "__main__":
    run(main)
