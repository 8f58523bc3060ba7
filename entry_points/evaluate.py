"""Choose views, temperature and champion on validation, and measure the champion on the locked test part.

Writes evaluation.json, champion/model.tar.gz and, where there is a test part, test_predictions.csv.
"""

import os

from trapline.console import run
from trapline.job_contract import message_file
from trapline.job_options import EvaluateOptions
from trapline.options import read_options


def main() -> None:
    """Parse, check, evaluate."""
    options = read_options(EvaluateOptions, __doc__)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train.py
    from trapline.evaluation.evaluating import evaluate  # late: --help needs none of this
    from trapline.s3_copies import local_places

    with local_places(options) as local:
        evaluate(local)


if __name__ == "__main__":
    run(main, failure=message_file)
