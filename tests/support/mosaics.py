"""The multi-label trial set: 2x2 mosaics of small images, each with the labels of all its tiles.

    python -m tests.support.mosaics --cifar DIR --to DIR --images 600 --seed 0

makes `train.csv` (ImageID, Labels, Caption), `test.csv` (ImageID, Caption) and `data/`, the mosaics of the
images in DIR (class folders, or a folder with those below train/); without --cifar those of drawn images.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

TILES = 4
QUALITY = 95
COLOURS = {
    "red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "yellow": (210, 200, 50),
    "purple": (150, 50, 170), "cyan": (50, 190, 200), "white": (220, 220, 220), "black": (30, 30, 30),
}  # fmt: skip

Picture = np.ndarray | Path  # uint8 RGB (side, side, 3), or an image file


def make_mosaics(
    images_by_class: Mapping[str, Sequence[Picture]], folder: Path, count: int, seed: int
) -> Path:
    """Write `count` labelled mosaics and a tenth as many unlabelled ones to `folder`, and return it.

    A mosaic has 1 to 4 of the classes, drawn by `seed`; no image is used again before all of its class have
    been. Labels are numbers with gaps (1, 2, 3, 5, 6, 7, 9, ...) in the order of `images_by_class`.
    """
    generator = np.random.default_rng(seed)
    names = list(images_by_class)
    stocks = [_endless(images_by_class[name], generator) for name in names]
    codes = label_numbers(len(names))
    (folder / "data").mkdir(parents=True)
    rows = []
    for number in range(count + count // 10):
        labels = _drawn_labels(len(names), generator)
        tiles = [
            _pixels(next(stocks[label])) for label in generator.permutation(_of_tiles(labels, generator))
        ]
        _write(folder / "data" / f"{number}.jpg", tiles)
        words = " ".join(str(codes[label]) for label in labels)
        rows.append([f"{number}.jpg", words, _caption([names[label] for label in labels], number)])
    _write_table(folder / "train.csv", ["ImageID", "Labels", "Caption"], rows[:count])
    _write_table(
        folder / "test.csv", ["ImageID", "Caption"], [[name, text] for name, _, text in rows[count:]]
    )
    return folder


def label_numbers(classes: int) -> list[int]:
    """Numbers from 1 that leave out every fourth: 1, 2, 3, 5, 6, 7, 9, 10, 11, 13 for ten classes."""
    return [1 + number + number // 3 for number in range(classes)]


def drawn_images(classes: int, images: int, side: int, seed: int) -> dict[str, list[np.ndarray]]:
    """`images` noisy tiles of each of the first `classes` colours: a small model learns them at once."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(-25, 26, (classes, images, side, side, 3))
    pixels = np.array(list(COLOURS.values())[:classes])[:, None, None, None] + noise
    return dict(zip(COLOURS, map(list, pixels.clip(0, 255).astype(np.uint8)), strict=False))


def class_folder_images(folder: Path) -> dict[str, list[Path]]:
    """The files of each class folder, or of those below train/."""
    top = folder / "train" if (folder / "train").is_dir() else folder
    return {place.name: sorted(place.iterdir()) for place in sorted(top.iterdir()) if place.is_dir()}


def _endless(pictures: Sequence[Picture], generator: np.random.Generator) -> Iterator[Picture]:
    while True:
        for place in generator.permutation(len(pictures)):
            yield pictures[place]


def _drawn_labels(classes: int, generator: np.random.Generator) -> list[int]:
    size = generator.integers(1, min(TILES, classes) + 1)
    return sorted(generator.choice(classes, size, replace=False).tolist())


def _of_tiles(labels: list[int], generator: np.random.Generator) -> list[int]:
    """A label for each tile: every label once, and then any of them."""
    return [*labels, *generator.choice(labels, TILES - len(labels)).tolist()]


def _pixels(picture: Picture) -> np.ndarray:
    if isinstance(picture, Path):
        return cv2.cvtColor(cv2.imread(str(picture), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return picture


def _write(path: Path, tiles: Sequence[np.ndarray]) -> None:
    mosaic = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    cv2.imwrite(str(path), cv2.cvtColor(mosaic, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _caption(names: list[str], number: int) -> str:
    """A sentence with commas and quotes, as captions have them."""
    verb = ("shows", "has", "is a picture of")[number % 3]
    return f'This {verb} {", ".join(f"a {name}" for name in names)}, "on a wall".'


def _write_table(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def main() -> None:
    """Parse, make, say where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, metavar="DIR", help="class folders; default: drawn images")
    parser.add_argument("--to", type=Path, metavar="DIR", required=True, help="a new folder")
    parser.add_argument("--images", type=int, default=600, help="labelled mosaics (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    images = class_folder_images(flags.cifar) if flags.cifar else drawn_images(6, 100, 32, flags.seed)
    print(f"{make_mosaics(images, flags.to, flags.images, flags.seed)}: {flags.images} labelled mosaics")


if __name__ == "__main__":
    main()
