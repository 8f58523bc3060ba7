"""The roof of the pipeline: from its command line to what does what it says."""

import sys


def main() -> None:
    """Parse, check, do."""
    from trapline.pipeline.command_line import read_command

    command = read_command(sys.argv[1:])
    if command.verb == "definition":
        from trapline.pipeline.definition import definition_text, make_pipeline

        print(definition_text(make_pipeline(command.design)), end="")
    elif command.verb == "cost":
        from trapline.pipeline.costs import print_cost

        print_cost(command)
    elif command.backend != "aws":
        from trapline.pipeline.running import run

        run(command)
    else:
        from trapline.pipeline.account import act

        act(command)
