"""The camera-trap pipeline, from raw images to a submission: two phases, pseudo-labels, a quality gate.

python pipelines/camera_trap.py run --backend process --data demo
python pipelines/camera_trap.py definition --data s3://BUCKET/PREFIX --recipe swin_stage1
python pipelines/camera_trap.py cost --data s3://BUCKET/PREFIX --recipe swin_stage1
python pipelines/camera_trap.py upsert --data s3://BUCKET/PREFIX --output s3://BUCKET/OUT --role ROLE
python pipelines/camera_trap.py start --param EpochsPhase1=10
"""

import sys


def main() -> None:
    """Parse, check, do."""
    from pipelines.command_line import read_command

    command = read_command(sys.argv[1:])
    if command.verb == "definition":
        from pipelines.definition import definition_text, make_pipeline

        print(definition_text(make_pipeline(command.design)), end="")
    elif command.verb == "cost":
        from pipelines.costs import print_cost

        print_cost(command)
    elif command.backend != "aws":
        from pipelines.running import run

        run(command)
    else:
        from pipelines.account import act

        act(command)


if __name__ == "__main__":
    try:
        from common.console import run

        run(main)
    except KeyboardInterrupt:  # while Python was still loading
        sys.exit(130)
