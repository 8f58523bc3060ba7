"""Write the model card of a registered model from its evaluation: what it is for, its numbers, its limits."""

from trapline.console import run
from trapline.launching.commands.model_card import main

if __name__ == "__main__":
    run(main)
