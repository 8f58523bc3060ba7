"""A drawn camera-trap set, labelled, in the layout of the eight-class competition: what its pictures show.

Sites differ in scenery, in their animals and in how often each comes by, so that a model can learn the site
instead of the animal: as with real cameras, a random split then promises too much. See `demo_drawing` for
how a picture is drawn.
"""

import functools
import itertools
import multiprocessing
import operator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from trapline.errors import UsageError, refuse_any
from trapline.job_options import DEMO_UNLABELED_SITES
from trapline.preparation import demo_drawing as drawing
from trapline.preparation.demo_drawing import Encounter, Picture, Points, Random, Scene, Stroke, Tones
from trapline.storage import atomic_file, write_table
from trapline.workers import available_cores, prepare_worker


@dataclass(frozen=True)
class Species:
    """A class: how common it is, and how it looks. Heights are shares of the frame's."""

    share: float  # of all sequences, roughly
    spread: float  # share of the sites where it may live, besides its homes
    nocturnal: float  # share of its sequences at night
    heights: tuple[float, float]
    coats: tuple[tuple[int, int, int], ...]  # red, green, blue


# A body plan is a list of strokes: part, tone, then x, y, radius of each point of its centre line, in
# hundredths of the trunk's length. The animal faces right and stands on y = 0; later strokes cover earlier
# ones. A part swings about its first point; a "leg", hip to foot, is drawn twice, once for the far side.
BODY_PLANS = {
    "antelope_duiker": (
        """tail dark -52 74 4 -60 56 3; leg coat -38 62 9 -40 2 2; leg coat 34 60 8 36 2 2;
        body coat -40 70 17 0 68 18 36 72 16; body light -30 56 5 2 53 6 26 57 5;
        head coat 38 76 14 54 96 8 62 110 8; head coat 62 112 8 74 106 6 84 100 4;
        head coat 58 116 3 47 122 5 40 125 2; head dark 62 117 3 60 136 2 66 154 1; head black 68 113 2""",
        """tail light -52 74 5 -58 58 3; leg coat -38 60 9 -40 2 2; leg coat 34 58 8 36 2 2;
        body coat -40 70 17 0 68 17 34 66 15; body light -30 55 5 2 53 5 24 54 5;
        head coat 36 66 13 58 46 8 68 30 7; head coat 70 28 8 78 18 6 83 9 4;
        head coat 66 34 3 58 44 4 54 48 2; head dark 72 33 2 84 44 2 90 56 1; head black 75 27 2""",
    ),
    "bird": (
        """tail dark -24 52 10 -50 50 7 -72 46 3; leg dark -2 36 4 2 2 2;
        body coat -24 54 13 0 52 24 22 60 14; body shade -30 54 5 -8 56 13 10 58 6;
        head coat 20 64 12 30 80 8 34 88 10; head pale 42 89 4 56 85 1; head black 37 91 2""",
        """tail dark -28 50 8 -48 48 10 -64 46 8; wing shade 6 56 12 -10 84 14 -34 110 5;
        body coat -28 50 10 0 50 17 24 52 11; wing coat 10 54 13 4 86 15 -14 120 4;
        head coat 26 54 10 36 57 10; head pale 45 57 4 58 55 1; head black 39 60 2""",
    ),
    "civet_genet": (
        """leg dark -42 24 6 -44 2 3; leg dark 36 24 6 38 2 3;
        tail coat -52 34 8 -80 24 8 -108 20 7 -134 26 3; body coat -46 32 12 0 31 12 36 32 10;
        head coat 36 34 10 54 40 8; head coat 56 41 10 68 38 5 76 36 2; head dark 64 37 3 74 35 2;
        head coat 53 50 5 51 55 3; head black 64 43 2""",
    ),
    "hog": (
        """tail dark -60 56 2 -68 36 2; leg dark -38 36 11 -40 2 4; leg dark 30 36 10 32 2 4;
        body coat -36 46 23 0 48 26 32 50 25; body dark -40 68 3 0 74 4 34 75 6 50 68 3;
        head coat 40 48 22 64 40 17 84 30 10 96 26 8; head dark 98 26 6; head pale 82 26 2 88 36 1;
        head dark 52 60 6 48 72 2; head black 66 47 2""",
    ),
    "leopard": (
        """leg coat -46 46 13 -48 3 5; leg coat 38 46 11 40 3 5;
        tail coat -56 56 6 -82 34 6 -106 26 6 -128 38 5 -136 54 4; body coat -46 54 16 0 52 16 40 56 17;
        body light -28 40 4 2 38 4 26 42 4; head coat 44 60 15 66 68 13; head coat 70 68 14;
        head light 80 62 7 84 61 6; head coat 64 80 5; head coat 74 80 4; head dark 88 63 2;
        head black 77 71 2""",
    ),
    "monkey_prosimian": (
        """tail coat -44 62 5 -72 84 4 -74 116 4 -56 136 3 -44 126 2; leg coat -36 52 9 -38 3 4;
        leg coat 28 52 8 32 3 4; body coat -36 58 13 0 56 12 28 62 13; head coat 32 68 10 44 80 14;
        head pale 54 79 8; head dark 57 76 6; head coat 40 86 5; head black 56 83 2""",
        """branch shade -300 -10 5 -100 -2 6 100 -6 6 300 6 4;
        tail coat -22 14 5 -52 2 4 -72 -22 4 -66 -56 4 -74 -80 2; body shade 10 12 11 34 30 9 36 4 5;
        body coat -12 18 19 -6 44 17 2 70 13; body light 6 24 7 9 46 6; body coat 4 66 8 24 44 6 30 14 4;
        body coat -6 12 12 20 26 10 26 3 5; head coat 4 78 10 10 94 16; head pale 20 93 10;
        head dark 24 89 6; head coat 2 98 6; head black 22 97 2""",
    ),
    "rodent": (
        """tail pale -44 16 4 -76 6 3 -106 10 2 -136 4 2; leg shade -24 14 9 -16 3 4;
        leg shade 28 14 5 32 3 4; body coat -28 26 20 -6 30 23 24 26 16;
        head coat 28 27 15 48 25 11 64 20 5; head coat 32 42 9 28 50 8; head light 34 44 5;
        head black 50 29 3""",
    ),
}
SPECIES = {
    "antelope_duiker": Species(0.16, 0.7, 0.3, (0.24, 0.45), ((160, 106, 62), (124, 94, 74), (172, 126, 80))),
    "bird": Species(0.11, 0.7, 0.0, (0.12, 0.30), ((74, 76, 90), (120, 88, 60), (48, 52, 58))),
    "blank": Species(0.20, 1.0, 0.4, (0.0, 0.0), ((0, 0, 0),)),
    "civet_genet": Species(0.13, 0.6, 0.8, (0.14, 0.27), ((140, 126, 100), (160, 140, 108))),
    "hog": Species(0.07, 0.0, 0.4, (0.20, 0.42), ((78, 65, 58), (106, 76, 54), (62, 58, 54))),
    "leopard": Species(0.12, 0.6, 0.6, (0.19, 0.40), ((196, 154, 86), (178, 138, 82))),
    "monkey_prosimian": Species(0.13, 0.6, 0.1, (0.20, 0.45), ((108, 98, 72), (74, 66, 62), (130, 114, 92))),
    "rodent": Species(0.12, 0.6, 0.7, (0.07, 0.20), ((118, 92, 66), (98, 86, 78), (134, 108, 76))),
}
SPOTS = {"leopard": (0.13, 0.05, True), "civet_genet": (0.085, 0.027, False)}  # spacing, radius, hollow
CLASSES = tuple(SPECIES)
Visit = tuple[int, int, datetime]  # label, frame of the burst, time
HOMES = 5  # sites where a class is sure to be seen
CONCENTRATION = 5.0  # of the Dirichlet distribution of classes at a site: the lower, the more lopsided
BURST_SHARES = (0.5, 0.3, 0.13, 0.07)  # bursts of 1, 2, 3, 4 frames
DAMAGES = ("empty", "truncated", "text", "missing")
TASK_IMAGES = 40
FOLDERS = ("train_features", "test_features")  # part 0 is labelled, part 1 is not
README = """This camera-trap set is DRAWN, from a seed, to try the pipeline without data: it holds no photo.
Scores on it say nothing about real animals. Some files are damaged on purpose: empty, cut off, text, absent.
{settings}
"""


@dataclass(frozen=True)
class DemoSettings:
    """What to draw; sizes in pixels. Raises UsageError naming the field that cannot be."""

    images: int = 2400
    unlabeled: int = 240
    sites: int = 60
    unlabeled_sites: int = DEMO_UNLABELED_SITES
    seed: int = 0
    width: int = 480
    height: int = 270
    damaged: float = 0.005  # share of each part; unless 0, at least one of each kind from 100 images on

    def __post_init__(self) -> None:
        limits = {
            "images": (self.sites, 500_000),
            "unlabeled": (self.unlabeled_sites if self.unlabeled else 0, 500_000),
            "sites": (1, 5000),
            "unlabeled_sites": (1, 4999),
            "seed": (0, 2**32 - 1),
            "width": (96, 4096),
            "height": (64, 4096),
            "damaged": (0, 0.5),
        }
        refuse_any(
            (not low <= value <= high, f"{name}: {value} is out of range; give {low} to {high}")
            for (name, (low, high)), value in zip(limits.items(), astuple(self), strict=True)
        )


@dataclass(frozen=True)
class Shot:
    """One row of the set, before it is drawn."""

    name: str
    filepath: str
    site: str
    sequence: str
    frame: int
    label: int
    moment: datetime
    damage: str = ""


def generator(settings: DemoSettings, *purpose: str) -> Random:
    """Random numbers of their own for each thing drawn, so that no order of work can change them."""
    return np.random.default_rng([settings.seed, *" ".join(purpose).encode()])


def plan_sizes(random: Random, images: int, sites: int) -> list[int]:
    """Images at each site: at least one, some sites several times as many as others."""
    weights = random.lognormal(0, 0.5, sites)
    edges = np.round(np.cumsum(weights) / weights.sum() * (images - sites)).astype(int)
    return (1 + np.diff(edges, prepend=0)).tolist()


def plan_classes(random: Random, sites: int) -> tuple[npt.NDArray[np.bool_], Picture]:
    """Where each class is at home, and the chance of each class at each site; both (sites, classes)."""
    homes = np.zeros((sites, len(CLASSES)), dtype=bool)
    order = random.permutation(sites)
    for label in range(len(CLASSES)):
        homes[order[(label * HOMES + np.arange(min(HOMES, sites))) % sites], label] = True
    share, spread = np.array([(species.share, species.spread) for species in SPECIES.values()]).T
    allowed = homes | (random.random(homes.shape) < spread)
    shape = CONCENTRATION * share / allowed.mean(axis=0)  # the rarer its sites, the more common there
    chances = (random.gamma(shape, size=homes.shape) + 1e-3) * allowed
    chances[:, CLASSES.index("blank")] += 1e-3  # a site where nothing lives still takes pictures
    return homes, chances / chances.sum(axis=1, keepdims=True)


def plan_site(random: Random, size: int, homes: list[int], chances: Picture) -> list[Visit]:
    """What each of `size` images shows, burst by burst; what is at home there comes first."""
    visits: list[Visit] = []
    while len(visits) < size:
        label = homes.pop() if homes else int(random.choice(len(CLASSES), p=chances))
        night = random.random() < SPECIES[CLASSES[label]].nocturnal
        hour = (random.uniform(19.5, 29) if night else random.uniform(6.5, 17.5)) + 24 * random.integers(300)
        moment = datetime(2025, 1, 1) + timedelta(seconds=int(hour * 3600))
        frames = min(int(random.choice(4, p=BURST_SHARES)) + 1, size - len(visits))
        visits += [(label, frame, moment + timedelta(seconds=2 * frame)) for frame in range(frames)]
    return visits


def plan_part(settings: DemoSettings, part: int) -> list[Shot]:
    """Every image of a part, ordered by name; neighbours in that order have nothing in common."""
    images = (settings.images, settings.unlabeled)[part]
    sites = (settings.sites, settings.unlabeled_sites)[part]
    random = generator(settings, "plan", FOLDERS[part])
    homes, chances = plan_classes(random, sites)
    indices, sequence, shots = random.permutation(images).tolist(), -1, []
    # From 100 images on there is every kind of damage.
    count = max(round(settings.damaged * images), len(DAMAGES) if settings.damaged and images >= 100 else 0)
    chosen = random.choice(images, count, replace=False).tolist()
    damages = {index: DAMAGES[turn % len(DAMAGES)] for turn, index in enumerate(chosen)}
    for site, size in enumerate(plan_sizes(random, images, sites) if images else ()):
        at_home = np.flatnonzero(homes[site]).tolist()
        for label, frame, moment in plan_site(random, size, at_home, chances[site]):
            index, sequence = indices.pop(), sequence + (frame == 0)
            name = f"ZJ{index + part * settings.images:06d}"
            keys = (f"S{site + part * settings.sites + 1:04d}", f"Q{part}{sequence:06d}")
            path = f"{FOLDERS[part]}/{name}.jpg"
            shots.append(Shot(name, path, *keys, frame, label, moment, damages.get(index, "")))
    return sorted(shots, key=lambda shot: shot.name)


def smooth(points: Points, steps: int = 5) -> Points:
    """A Catmull-Rom curve through `points` (n, columns), `steps` samples a segment."""
    padded = np.vstack([points[:1], points, points[-1:]])
    t = np.arange(steps)[:, None] / steps
    weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
    windows = [padded[start : start + 4] for start in range(len(points) - 1)]
    curves = [sum(0.5 * w * p for w, p in zip(weights, window, strict=True)) for window in windows]
    return np.vstack([*curves, points[-1:]])


@functools.cache
def parse_plan(plan: str) -> tuple[Stroke, ...]:
    """Read one body plan; the curves come out smooth."""
    strokes = []
    for line in plan.split(";"):
        part, tone, *numbers = line.split()
        points = np.array(numbers, dtype=float).reshape(-1, 3) / 100
        strokes.append(Stroke(part, drawing.TONES.index(tone), smooth(points)))
    return tuple(strokes)


def coat_palette(random: Random, species: Species, night: bool) -> Picture:
    """A colour for each tone: a coat, what derives from it, and eyes that shine at night."""
    coat = np.array(random.choice(species.coats)) * random.uniform(0.8, 1.2) + random.normal(0, 6, 3)
    pale, eye = (214, 204, 186), (255, 255, 255) if night else (16, 14, 12)
    colours = ((0, 0, 0), coat, 0.68 * coat, 0.5 * coat + 105, 0.33 * coat, pale, eye)
    return np.clip(np.array(colours, dtype=np.float32), 0, 255) * (1.25 if night else 1)


def meet(random: Random, scene: Scene, label: str, night: bool) -> Encounter:
    """Everything about one burst: which pose, how near, where, in what light."""
    species, plans = SPECIES[label], BODY_PLANS.get(label, ())
    strokes = parse_plan(str(random.choice(plans))) if plans else ()
    parts = {stroke.part for stroke in strokes}
    near = random.beta(2.2, 1.5)
    aloft = bool(parts & {"wing", "branch"})
    ground = scene.horizon + (0.93 - scene.horizon) * (0.25 + 0.7 * near)
    facing = int(random.choice([-1, 1]))
    clutter = random.random(len(drawing.CLUTTER)) < (0.2 if plans else 0.45)
    return Encounter(
        strokes=strokes,
        spots=SPOTS.get(label),
        ringed=label == "civet_genet",
        palette=coat_palette(random, species, night),
        night=night,
        height=species.heights[0] + near * (species.heights[1] - species.heights[0]),
        x=random.uniform(0.15, 0.85),
        feet=random.uniform(0.3, 0.65) if aloft else ground + random.normal(0, 0.03),
        pace=0.0 if "branch" in parts else facing * random.exponential(0.03),
        facing=facing,
        light=(random.uniform(0.75, 1.2) * random.uniform(0.94, 1.06, 3)).astype(np.float32),
        wind=random.normal(0, 0.12),
        clutter=tuple(kind for kind, present in zip(drawing.CLUTTER, clutter, strict=True) if present),
        aloft=aloft,
        tufts=0 if aloft else int(random.choice([0, 6, 20, 45])),
        seed=int(random.integers(2**32)),
    )


def add_caption(picture: Tones, shot: Shot, camera: Random) -> None:
    """Burn the camera's strip into the lower edge; it says that the picture is drawn."""
    height, width = picture.shape[:2]
    strip = picture[height - round(0.07 * height) :]
    ink, paper = ((250, 250, 250), 0) if camera.random() < 0.7 else ((20, 20, 20), 235)
    maker = camera.choice(["TRAILEYE", "WOODCAM 2", "SENTRY-X", "LYNX IR"])
    warmth = 16 + round(9 * np.sin((shot.moment.hour - 9) / 12 * np.pi)) + camera.integers(-4, 5)
    strip[:] = paper
    text = f"DRAWN  {maker}  {shot.site}  {warmth}C  {shot.moment:%Y-%m-%d  %H:%M:%S}"
    size = 0.9 * width / (17 * len(text))  # a letter is about 17 pixels wide at scale 1
    base = (round(0.02 * width), round(0.72 * strip.shape[0]))
    cv2.putText(strip, text, base, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)


def draw_shot(settings: DemoSettings, shot: Shot, scene: Scene) -> bytes:
    """One picture as JPEG bytes."""
    night = not 6 <= shot.moment.hour < 18
    meeting = meet(generator(settings, "burst", shot.sequence), scene, CLASSES[shot.label], night)
    picture = drawing.draw_frame(scene, meeting, shot.frame, generator(settings, "frame", shot.name))
    add_caption(picture, shot, generator(settings, "camera", shot.site))
    return simplejpeg.encode_jpeg(picture, quality=82, colorsubsampling="420")


def draw_site(folder: Path, settings: DemoSettings, shots: Sequence[Shot]) -> None:
    """Draw and write some pictures of one site, the damaged ones as they should be."""
    scene = drawing.draw_scene(generator(settings, "site", shots[0].site), settings.width, settings.height)
    for shot in shots:
        path = folder / shot.filepath
        if shot.damage == "text":
            path.write_text("This file is not an image.\n", encoding="utf-8")
        elif shot.damage != "missing":
            content = draw_shot(settings, shot, scene)
            kept = {"empty": 0, "truncated": len(content) // 2}.get(shot.damage, len(content))
            path.write_bytes(content[:kept])


def draw_sites(folder: Path, settings: DemoSettings, shots: list[Shot], processes: int) -> None:
    """Draw all pictures; spawned processes, because a fork after threads can hang."""
    draw = functools.partial(draw_site, folder, settings)
    site_of = operator.attrgetter("site")
    sites = [list(group) for _, group in itertools.groupby(sorted(shots, key=site_of), key=site_of)]
    if processes < 2 or len(shots) < 64:  # which are drawn sooner than processes start
        for site in sites:
            draw(site)
        return
    # So few images a task that all cores end at about the same time.
    tasks = [
        site[start : start + TASK_IMAGES] for site in sites for start in range(0, len(site), TASK_IMAGES)
    ]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), prepare_worker) as pool:
        list(pool.map(draw, tasks))  # a list, so that a failure in a process is raised here


def write_tables(folder: Path, parts: list[list[Shot]]) -> None:
    """The four CSV files, of names that need no care."""
    write = functools.partial(write_table, exact=None, line_end="\n")
    for name, shots in zip(FOLDERS, parts, strict=True):
        write(
            folder / f"{name}.csv",
            ("id", "filepath", "site", "sequence"),
            [(shot.name, shot.filepath, shot.site, shot.sequence) for shot in shots],
        )
    labels = [(shot.name, *np.eye(len(CLASSES))[shot.label].tolist()) for shot in parts[0]]
    write(folder / "train_labels.csv", ("id", *CLASSES), labels)
    uniform = [(shot.name, *[1 / len(CLASSES)] * len(CLASSES)) for shot in parts[1]]
    write(folder / "submission_format.csv", ("id", *CLASSES), uniform)


def draw_demo(folder: Path, settings: DemoSettings, processes: int | None = None) -> None:
    """Draw the whole set into `folder`, which must be new or empty.

    The same settings give the same bytes, whatever the number of `processes` (default: one for each core).
    Raises UsageError when the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: not an empty folder; name a new one, or remove what it holds")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    parts = [plan_part(settings, part) for part in range(len(FOLDERS))]
    draw_sites(folder, settings, parts[0] + parts[1], processes or available_cores())
    write_tables(folder, parts)
    with atomic_file(folder / "README.txt", "w", encoding="utf-8") as file:
        file.write(README.format(settings=settings))  # last: where it lies, the set is complete
