"""Image files, as bytes."""

import os
import stat

MAX_FILE_BYTES = 512 * 2**20  # a larger file is no photograph


def read_file(path: str) -> bytes:
    """The bytes of a regular file of a photograph's size; OSError otherwise (a pipe would block for ever)."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise OSError(f"{status.st_size} bytes are more than a photograph has")
        return file.read(MAX_FILE_BYTES + 1)
