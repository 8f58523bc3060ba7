"""Print pip's settings on this machine as a pip.conf for a build elsewhere: indexes, trust, patience.

They may hold passwords: the output is for a build secret, never for a layer. What names files of this machine
is left out; its certificate authorities travel as a secret of their own.
"""

import ast
import subprocess
import sys

WANTED = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")


def settings(listed: str) -> dict[str, list[str]]:
    """The wanted settings in what `pip config list` printed; those of the environment win over files."""
    found: dict[str, list[str]] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        key, _, text = line.partition("=")
        name = key.rpartition(".")[2].replace("default-timeout", "timeout")
        if name in WANTED:
            values = [str(value) for value in str(ast.literal_eval(text)).split()]
            found[name] = [value for value in values if not value.startswith(("file:", "/", "."))]
    return {name: values for name, values in found.items() if values}


def main() -> None:
    """Ask this interpreter's pip; one without pip has no settings."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    print("[global]")
    for name, values in settings(done.stdout).items():
        print(name, "=", *values)


if __name__ == "__main__":
    main()
