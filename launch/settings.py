"""Say once for all commands where data lie and jobs run: show or write the settings in trapline.toml."""

from trapline.console import run
from trapline.launching.commands.settings import main

if __name__ == "__main__":
    run(main)
