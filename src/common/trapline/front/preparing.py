"""Raw images into a prepared data set, from a program."""

from os import PathLike
from pathlib import Path
from typing import Any

from trapline.data.prepared import PreparedSet, open_prepared
from trapline.front.checking import checked
from trapline.job_options import PrepareOptions
from trapline.local_places import local_places
from trapline.preparation import preparing


def prepare(input: str | PathLike[str], output: str | PathLike[str], **options: Any) -> PreparedSet:
    """Write the prepared set of the images in `input` to the folder `output`, and open it.

    `input` is a folder, an archive, an s3:// URI of either, or `demo`, which draws some. `options` are those
    of entry_points/prepare.py, such as split="site", site_csv="sites.csv" or limit_per_class=50. Images are
    decoded in processes of their own, which import the program that calls this: it needs
    `if __name__ == "__main__":`.

    Raises UsageError for options that cannot be, TraplineError when the input cannot be read or more than
    `max_quarantine` of it is unusable.
    """
    with local_places(checked(PrepareOptions, input=input, output=output, **options)) as local:
        preparing.prepare(preparing.from_options(local))
    return open_prepared(Path(output))
