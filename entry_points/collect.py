"""Collect the answers of batch transform: predictions.csv, submission.csv and report.html.

Where images have several labels, label_predictions.csv (ImageID,Labels) in the place of submission.csv.
"""

from pathlib import Path

from trapline.console import run
from trapline.job_contract import message_file
from trapline.job_options import CollectOptions
from trapline.options import read_options


def main() -> None:
    """Parse, check, collect."""
    options = read_options(CollectOptions, __doc__)
    from trapline.reports.collection import collect
    from trapline.s3_copies import local_places  # late: --help and a typing error need none of this

    with local_places(options) as local:
        collect(local)
        if local.completed:
            from trapline.preparation.completion import write_record

            write_record(Path(local.prepared), list(local.settings), Path(local.completed))


if __name__ == "__main__":
    run(main, failure=message_file)
