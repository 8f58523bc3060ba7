"""Label the unlabelled images of a prepared set with a trained model's sure guesses, for Phase 2.

Writes pseudo_labels.csv, a row for every unlabelled image, with the reason where its guess is not accepted,
and pseudo_labels.json. `train.py --pseudo` reads the folder.
"""

import os
import sys
from pathlib import Path

from trapline.channels import message_file
from trapline.console import run
from trapline.job_options import PseudoLabelOptions
from trapline.options import read_options


def main() -> None:
    """Parse, label, write."""
    options = read_options(PseudoLabelOptions, sys.argv[1:], __doc__)
    from trapline.inference.pseudo_labels import Policy, make_pseudo_labels  # late: --help needs none of this
    from trapline.local_places import local_places

    with local_places(options) as local:
        make_pseudo_labels(
            Path(local.prepared), Path(local.model), Path(local.output), Policy.from_options(local)
        )


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
