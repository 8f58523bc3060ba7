"""Label the unlabelled images of a prepared set with a trained model's sure guesses, for Phase 2.

Writes pseudo_labels.csv, a row for every unlabelled image, with the reason where its guess is not accepted,
and pseudo_labels.json. `train.py --pseudo` reads the folder.
"""

from trapline.console import run
from trapline.job_contract import message_file
from trapline.job_options import PseudoLabelOptions
from trapline.options import read_options


def main() -> None:
    """Parse, label, write."""
    options = read_options(PseudoLabelOptions, __doc__)
    from trapline.inference.pseudo_labels import make_pseudo_labels  # late: --help needs none of this
    from trapline.s3_copies import local_places

    with local_places(options) as local:
        make_pseudo_labels(local)


if __name__ == "__main__":
    run(main, failure=message_file)
