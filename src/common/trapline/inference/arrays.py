"""Arrays of pixels in NumPy's file format, of which nothing is believed before it is looked at.

numpy reads a header by Python's own parser; here it is three fields of known forms, and nothing else.
"""

import math
import re

import numpy as np

MAGIC = b"\x93NUMPY"
SIZE_OF_LENGTH = {b"\x01\x00": 2, b"\x02\x00": 4}  # by the version of the format, in bytes
MAX_HEADER_BYTES = 1000  # bytes; numpy writes about 118
MAX_DIMENSIONS = 32
FIELD = re.compile(
    r"""\s*['"](\w{1,20})['"]\s*:\s*('[^'\\]{1,20}'|"[^"\\]{1,20}"|True|False|\([\d\s,L]*\))"""
)
BYTES = ("|u1", "<u1", ">u1", "=u1", "u1", "B", "uint8")  # spellings of uint8


def read_array(body: bytes) -> np.ndarray:
    """The uint8 array of an .npy file, without a copy. Raises ValueError saying what it is instead."""
    text, start = _header(body)
    fields = _fields(text)
    descr, shape = fields["descr"][1:-1], _shape(fields["shape"])
    if descr not in BYTES:
        raise ValueError(f"the array is {descr} {shape}")
    if math.prod(shape) != len(body) - start:
        raise ValueError(f"its header says {shape}, which are not the {len(body) - start} bytes that follow")
    flat = np.frombuffer(body, np.uint8, offset=start)
    return flat.reshape(shape, order="F" if fields["fortran_order"] == "True" else "C")


def _header(body: bytes) -> tuple[str, int]:
    """The text of the header, and where the samples begin."""
    if not body.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    begins = len(MAGIC) + 2
    size = SIZE_OF_LENGTH.get(body[len(MAGIC) : begins])
    if size is None:
        raise ValueError("its version of the format is not 1.0 or 2.0")
    length = int.from_bytes(body[begins : begins + size], "little")
    start = begins + size + length
    if length > MAX_HEADER_BYTES or start > len(body):
        raise ValueError(f"its header is cut off, or longer than {MAX_HEADER_BYTES} bytes")
    return body[begins + size : start].decode("latin-1"), start


def _fields(text: str) -> dict[str, str]:
    """The fields of a header, as they are written."""
    inside = text.strip()
    fields: dict[str, str] = {}
    position, end = 1, len(inside) - 1
    while inside[:1] == "{" and (found := FIELD.match(inside, position, end)):
        fields[found[1]] = found[2]
        position = found.end()
        rest = inside[position:end].lstrip()
        position = end - len(rest) + rest.startswith(",")
        if not rest.startswith(","):
            break
    whole = inside[-1:] == "}" and not inside[position:end].strip()
    kinds = [fields.get(name, "?")[0] for name in ("descr", "fortran_order", "shape")]
    if not whole or len(fields) != 3 or kinds[0] not in "'\"" or kinds[1] not in "TF" or kinds[2] != "(":
        raise ValueError("its header is not descr, fortran_order and shape of plain samples")
    return fields


def _shape(text: str) -> tuple[int, ...]:
    sizes = [size.strip().removesuffix("L") for size in text[1:-1].split(",")]
    sizes = sizes[:-1] if not sizes[-1] else sizes
    if len(sizes) > MAX_DIMENSIONS or not all(re.fullmatch(r"\d{1,18}", size, re.ASCII) for size in sizes):
        raise ValueError("the shape in its header is not made of sizes")
    return tuple(map(int, sizes))
