"""A few dozen cheap features of packed images: what shows the camera as well as the animal.

Brightness in a coarse grid, colours, whether the picture is infrared, and the strip of the caption. They
hardly show a species: what a linear model makes of them is mostly the place.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from trapline.data.groups import Integers
from trapline.images.canonical import Pixels, decode_packed
from trapline.preparation.random_splits import Floats

GRID = 8  # cells on each side of an image
SIDE = 32  # pixels: images are decoded at this short side, or a little more
STRIP = 0.07  # of the height: where most cameras write their caption
INFRARED = 6.0  # levels of 255: the channels of an image without colour differ by less on average
FEATURES = GRID**2 + 10


@dataclass(frozen=True)
class ImageFeatures:
    """Features of some of n images: `rows`, (m,), their places among them; `values`, (m, FEATURES)."""

    rows: Integers
    values: Floats


def image_features(packed: Path, rows: Integers) -> Floats:
    """Features of the images of some source rows, float (rows, FEATURES), from the file of `write_packed`.

    Only these images are read where the file can be memory-mapped. Raises ValueError for a row that the file
    does not hold, or an image that is damaged in it.
    """
    places = {row: place for place, row in enumerate(rows.tolist())}
    values = np.full((len(rows), FEATURES), np.nan)
    with _opened(packed) as source:
        reader = pa.ipc.open_file(source)
        for batch in map(reader.get_batch, range(reader.num_record_batches)):
            for own, row in enumerate(batch.column("row").to_pylist()):
                if row in places:
                    image = memoryview(batch.column("image")[own].as_buffer()).cast("B")
                    values[places[row]] = features_of(decode_packed(image, SIDE))
    absent = rows[np.isnan(values).any(axis=1)]
    if len(absent):
        raise ValueError(f"{packed}: holds no image of row {absent[0]}")
    return values


def _opened(path: Path) -> pa.NativeFile:
    try:
        return pa.memory_map(str(path))
    except OSError:  # some mounts for results refuse mapping
        return pa.OSFile(str(path))


def features_of(pixels: Pixels) -> Floats:
    """Features of one image, (FEATURES,), 0 to 1; `pixels`: uint8 RGB (height, width, 3).

    Brightness in a grid of GRID x GRID cells, mean and deviation of each channel, how far the channels differ
    and whether so little that the image is infrared, mean and deviation of the lowest STRIP.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(pixels)
    highest, lowest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    colour = cv2.mean(cv2.subtract(highest, lowest))[0]
    strip = grey[-max(1, round(STRIP * len(grey))) :]
    levels = [np.ravel(part) for part in (grid, *cv2.meanStdDev(pixels), *cv2.meanStdDev(strip), colour)]
    return np.append(np.concatenate(levels) / 255, colour < INFRARED)
