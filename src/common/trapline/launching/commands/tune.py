"""Search for hyperparameters of an experiment: on AWS by SageMaker's tuner, here one job after another.

    python launch/tune.py swin_stage1 --range lr=1e-5:1e-3:log batch_size=16,32,64 label_smoothing=0:0.2 \\
        --prepared s3://BUCKET/SET --role ROLE --max-jobs 20 --parallel 2 --early-stopping
    python launch/tune.py resnet18_baseline --backend process --prepared runs/prepared/SET \\
        --range lr=1e-4:1e-2:log epochs=5:20 --set weights=none image_size=96 --max-jobs 8

All other flags are the launcher's. SageMaker's tuner compares what the jobs report last, a search here what
they had at the epoch whose weights are kept. A search here that was interrupted goes on by the same command
with its --job-name. Its runs and their table, tuning.csv, best first, lie in runs/NAME/.
"""

import sys

from trapline.console import ArgumentParser


def main() -> None:
    """Read the search, run it."""
    words = sys.argv[1:]
    if not words or words[0].startswith("-"):
        arguments = ArgumentParser(description=__doc__)
        arguments.add_argument("experiment", metavar="EXPERIMENT", help="of launch/; comes first")
        arguments.add_argument("flags", nargs="*", help="EXPERIMENT --help lists them")
        arguments.parse_args(words)
    from trapline.launching.checkout import find_experiment  # late: --help alone needs none of it
    from trapline.launching.dispatch import run_search
    from trapline.launching.many.studies import read_search

    run_search(*read_search(find_experiment(words[0]), words[1:]))
