"""Predict images with a trained model, and write the answers in the formats that other tools open."""

from trapline.console import run
from trapline.launching.commands.predicting import main

if __name__ == "__main__":
    run(main)
