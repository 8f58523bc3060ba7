"""Turn raw images into the prepared data set that training, evaluation and inference read.

Raw images lie in the competition's layout (*_features.csv with id, filepath, site; *_labels.csv one-hot), in
a folder for each class, in such folders below train/, val/ and test/, as Tiny-ImageNet or CIFAR-10 do, or
are listed with several labels each in a CSV (ImageID, Labels, Caption); `demo` draws an artificial set. What
cannot be used goes to quarantine.csv.
"""

from pathlib import Path

from trapline.console import run
from trapline.job_contract import message_file
from trapline.job_options import PrepareOptions
from trapline.options import read_options


def main() -> None:
    """Parse, check, prepare."""
    options = read_options(PrepareOptions, __doc__)
    from trapline.preparation.preparing import prepare
    from trapline.s3_copies import local_places  # late: --help and a typing error need none of this

    with local_places(options) as local:
        prepare(local)
        if local.completed:
            from trapline.preparation.completion import write_state

            weights = Path(local.weights) if local.weights else None
            print(write_state(Path(local.output), Path(local.completed), weights), flush=True)


if __name__ == "__main__":
    run(main, failure=message_file)
