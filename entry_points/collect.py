"""Collect the answers of batch transform: predictions.csv, submission.csv and report.html.

Where images have several labels, label_predictions.csv (ImageID,Labels) in the place of submission.csv.
"""

import os
import sys
from pathlib import Path

from trapline.channels import message_file
from trapline.console import run
from trapline.job_options import CollectOptions
from trapline.options import read_options


def main() -> None:
    """Parse, check, collect."""
    options = read_options(CollectOptions, sys.argv[1:], __doc__)
    from trapline.local_places import local_places  # late: --help and a typing error need none of this
    from trapline.reports.collection import Collection, collect

    with local_places(options) as local:
        collect(
            Collection(
                prepared=Path(local.prepared),
                predictions=Path(local.predictions),
                evaluation=Path(local.evaluation),
                histories=[Path(history) for history in local.history],
                output=Path(local.output),
                review_below=local.review_below,
                submission_format=Path(local.submission_format) if local.submission_format else None,
            )
        )
        if local.completed:
            from trapline.preparation.completion import write_record

            write_record(Path(local.prepared), list(local.settings), Path(local.completed))


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
