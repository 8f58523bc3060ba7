"""Reading tables of a million images, up to the division into parts: time and memory before any is opened.

Run: python benchmarks/planning.py [images] [layout ...]
Files are there and empty, a thousand in a folder of each camera; the layouts are those of tables and folders.
Each is measured in a process of its own, which reads, decides labels, times, sequences and parts.
"""

import csv
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from figures import Figure, emit
from peak_memory import run_measured

from trapline.data.prepared import PARTS
from trapline.job_options import PrepareOptions
from trapline.preparation.bursts import with_sequences
from trapline.preparation.clocks import with_times
from trapline.preparation.division import KEPT
from trapline.preparation.kept_division import divide_kept
from trapline.preparation.planning import planned
from trapline.preparation.raw_input import raw_input

IMAGES = 1_000_000
A_CAMERA = 1000  # images
LABELS = ("empty", "fox", "owl", "red deer", "roe deer", "wild boar", "badger", "hare")
MEDIA = ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype")
OBSERVATIONS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "scientificName", "classificationMethod",
)  # fmt: skip
BEGIN = datetime.datetime(2021, 3, 1)


def main() -> None:
    """Draw the files once, then a table of each layout, and read it in a process of its own."""
    if sys.argv[1:2] == ["--read"]:
        read(*sys.argv[2:])
        return
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        for file in paths(images):
            if file.endswith("/0000.jpg"):
                (photos / file).parent.mkdir(parents=True)
            (photos / file).touch()
        for name in sys.argv[2:] or LAYOUTS:
            place = Path(folder) / name
            given = LAYOUTS[name](place, images) or photos
            words = [sys.executable, __file__, "--read", given, photos, Path(folder) / "out"]
            seconds, peak = run_measured(words)
            print(f"{name}: {images} images in {seconds:.1f} s, peak {peak:.0f} MiB", flush=True)
            emit(
                Figure(
                    f"reading a {name} of {images} images",
                    "60 s, 2048 MiB allowed",
                    f"{seconds:.0f} s",
                    f"{peak:.0f} MiB",
                )
            )


def paths(images: int) -> Iterator[str]:
    """The files, by camera."""
    for number in range(images):
        yield f"CAM{number // A_CAMERA:04d}/{number % A_CAMERA:04d}.jpg"


def facts(images: int) -> Iterator[tuple[str, str, str, str]]:
    """Path, camera, label and time of each image, three a minute in turn."""
    draw = np.random.default_rng(0).integers(0, len(LABELS), images // 3 + 1)
    for number, path in enumerate(paths(images)):
        moment = BEGIN + datetime.timedelta(minutes=20 * (number // 3), seconds=number % 3)
        yield path, path.partition("/")[0], LABELS[draw[number // 3]], moment.isoformat(sep=" ")


# --- layouts ------------------------------------------------------------------------------------------------


def write_csv(place: Path, images: int) -> Path:
    """A CSV with the usual names."""
    place.mkdir()
    with (place / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "location", "species", "datetime"])
        writer.writerows(facts(images))
    return place / "labels.csv"


def write_timelapse(place: Path, images: int) -> Path:
    """Timelapse's CSV; the label is in a column Species."""
    place.mkdir()
    with (place / "TimelapseData.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["RootFolder", "File", "RelativePath", "DateTime", "DeleteFlag", "Species"])
        for path, camera, label, moment in facts(images):
            writer.writerow(["photos", path.partition("/")[2], camera, moment, "false", label])
    return place / "TimelapseData.csv"


def write_coco(place: Path, images: int) -> Path:
    """COCO Camera Traps with a sequence for every three images."""
    place.mkdir()
    every = enumerate(facts(images))
    with (place / "coco.json").open("w") as file:
        file.write('{"info": {"version": "1"}, "images": [')
        for number, (path, camera, _, moment) in every:
            image = {
                "id": f"i{number}", "file_name": path, "location": camera, "datetime": moment,
                "seq_id": f"s{number // 3}", "frame_num": number % 3, "seq_num_frames": 3,
            }  # fmt: skip
            file.write(("," if number else "") + json.dumps(image))
        file.write('], "annotations": [')
        for number, (_, _, label, _) in enumerate(facts(images)):
            said = {"id": f"a{number}", "image_id": f"i{number}", "category_id": LABELS.index(label)}
            file.write(("," if number else "") + json.dumps(said))
        names = [{"id": number, "name": name} for number, name in enumerate(LABELS)]
        file.write(f'], "categories": {json.dumps(names)}}}')
    return place / "coco.json"


def write_camtrap_dp(place: Path, images: int) -> Path:
    """Camtrap DP with an observation of each medium."""
    place.mkdir()
    resources = [{"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")]
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
    package = {"name": "drawn", "profile": profile, "resources": resources}
    (place / "datapackage.json").write_text(json.dumps(package))
    cameras = dict.fromkeys(path.partition("/")[0] for path in paths(images))
    with (place / "deployments.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["deploymentID", "locationID", "latitude", "longitude", "deploymentStart", "deploymentEnd"]
        )
        for name in cameras:
            writer.writerow([f"d-{name}", name, 59.1, 10.2, "2021-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
    with (
        (place / "media.csv").open("w", newline="") as media,
        (place / "observations.csv").open("w", newline="") as seen,
    ):
        of_media, of_seen = csv.writer(media), csv.writer(seen)
        of_media.writerow(MEDIA)
        of_seen.writerow(OBSERVATIONS)
        for number, (path, camera, label, moment) in enumerate(facts(images)):
            at = f"{moment.replace(' ', 'T')}Z"
            of_media.writerow([f"m{number}", f"d-{camera}", at, path, "true", "image/jpeg"])
            blank = label == "empty"
            name = ["blank", ""] if blank else ["animal", f"Genus {label}"]
            own = [f"o{number}", f"d-{camera}", f"m{number}", f"e{number // 3}", at, at, "media"]
            of_seen.writerow([*own, *name, "human"])
    return place


LAYOUTS: Mapping[str, Callable[[Path, int], Path | None]] = {
    "csv": write_csv, "timelapse": write_timelapse, "coco": write_coco, "camtrap-dp": write_camtrap_dp,
}  # fmt: skip


# --- what is measured ---------------------------------------------------------------------------------------


def read(given: str, photos: str, output: str) -> None:
    """Read one input to its end: listing, labels, times, sequences, and the division into parts."""
    begun = time.perf_counter()
    work = Path(output)
    work.mkdir(exist_ok=True)
    options = PrepareOptions(input=(given,), output=output, media=photos)
    with raw_input(options, work) as (listing, folder, _):
        plan = planned(listing, folder, options, work)
        digests = [f"{row:064x}" for row in plan.source.images.index]  # what packing would add
        images = plan.source.images.assign(exif_time=None, camera=None, likeness=np.uint64(0), sha256=digests)
        images, _ = with_times(images, datetime.datetime.now())
        images, _ = with_sequences(images, options.sequence_gap)
        images = images.assign(**{KEPT: images["site"]})
        divided = divide_kept(images, plan.source.classes, plan.policy, plan.known, None, None)
    counts = divided.images["part"].value_counts()
    assert set(counts.index) <= set(PARTS)
    assert counts.sum() + len(plan.source.quarantined) == plan.inputs
    print(f"{counts.to_dict()} {plan.policy.kind} {time.perf_counter() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
