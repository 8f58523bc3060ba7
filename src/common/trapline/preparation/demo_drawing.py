"""Draws one frame of an artificial camera trap: a site's scene, and an animal that passes through it.

Pictures are float32 RGB arrays of shape (height, width, 3), 0 to 255, until the camera develops them. Every
random choice comes from the generator handed in: the same generators draw the same picture.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[Any]  # float32; cv2's own types are too wide to say so
Tones = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Colour = npt.NDArray[Any]  # (3,)
Corner = Points | tuple[float, float]  # x, y
Random = np.random.Generator

TONES = ("nothing", "coat", "shade", "light", "dark", "pale", "black")
NOTHING, COAT, SHADE, _, DARK = range(5)
SUPERSAMPLING = 2  # tones have no soft edges: draw them at twice the size and average
SWING = {"tail": 16.0, "head": 9.0, "wing": 32.0, "body": 0.0, "branch": 0.0}  # degrees to either side
INFRARED = np.array((0.45, 0.35, 0.2), dtype=np.float32)  # how red, green and blue look at night
CLUTTER = {"leaf": (0.05, 0.02, 0.008), "shadow": (0.4, 0.15, 0.04), "twig": (0.4, 0.005, 0.008)}
FAR_SIDE = np.array((0.05, 0.015, 0.0))  # where the far legs stand, seen from the near ones
BIOMES = (  # sky, dark leaves, light leaves, soil
    ((196, 210, 214), (34, 52, 30), (98, 124, 62), (92, 78, 56)),
    ((206, 216, 226), (92, 88, 48), (176, 160, 92), (168, 140, 96)),
    ((170, 192, 186), (18, 40, 26), (66, 106, 56), (58, 54, 40)),
    ((222, 214, 196), (84, 66, 44), (160, 128, 84), (150, 104, 70)),
    ((210, 200, 184), (74, 50, 28), (160, 108, 52), (110, 76, 50)),
)


@dataclass(frozen=True)
class Stroke:
    """One brush stroke of an animal: `points` has shape (n, 3): x, y, radius."""

    part: str
    tone: int
    points: Points


@dataclass(frozen=True)
class Scene:
    """What never changes at one site: layers of the frame's size, and the camera's habits."""

    backdrop: Picture
    grass: Picture  # the lowest rows again, with what stands before the animals
    cover: Picture  # alpha of `grass`, 0 to 1, one channel
    flash: Picture  # how far the infrared flash reaches, (height, width, 1)
    vignette: Picture  # (height, width, 1)
    noise: Picture  # standard normal, (height, width, 1)
    blades: tuple[Colour, Colour]  # colours of the grass
    horizon: float  # share of the height
    tilt: float  # degrees
    haze: float  # 0 to 1: how far animals fade into the backdrop
    grain: float  # standard deviation by day
    light: Colour  # exposure and white balance: factors


@dataclass(frozen=True)
class Encounter:
    """What the frames of one burst share. Lengths are shares of the frame's width (x) or height."""

    strokes: tuple[Stroke, ...]  # empty: no animal
    spots: tuple[float, float, bool] | None  # spacing, radius, hollow
    ringed: bool  # the tail
    palette: Picture  # a colour for each tone, (len(TONES), 3)
    night: bool
    height: float
    x: float
    feet: float  # from the top
    pace: float  # to the right, from one frame to the next
    facing: int  # 1 right, -1 left
    light: Colour
    wind: float
    clutter: tuple[str, ...]
    aloft: bool  # flying, or on a branch
    tufts: int  # blades of grass before the feet
    seed: int  # for what stays as it is between two frames


def rotated(points: Points, degrees: float, pivot: Points) -> Points:
    """`points` (n, 3) turned about `pivot` (x, y, ...); radii stay."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.column_stack([(points[:, :2] - pivot[:2]) @ turn + pivot[:2], points[:, 2]])


def swung_leg(points: Points, reach: float) -> Points:
    """A leg whose foot stands `reach` ahead of its rest, with a bent knee. Points: hip first, foot last."""
    along = np.linspace(0, 1, len(points))
    shift = along * reach + 0.05 * np.sin(np.pi * along) * np.sign(points[0, 0])
    return points + np.column_stack([shift, along * 0.25 * abs(reach), np.zeros(len(points))])


def pose(strokes: tuple[Stroke, ...], random: Random) -> list[Stroke]:
    """Swing tail, head, wings and legs; the far legs come first, in shade."""
    turns = {part: random.normal(0, degrees / 2) for part, degrees in SWING.items()}
    pivots = {stroke.part: stroke.points[0] for stroke in reversed(strokes)}
    phase, stride = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.2)
    far, near = [], []
    for stroke in strokes:
        if stroke.part == "leg":
            reach = stride * np.sin(phase + (np.pi if stroke.points[0, 0] > 0 else 0))
            behind = swung_leg(stroke.points + FAR_SIDE, -reach)
            far.append(Stroke("leg", SHADE if stroke.tone == COAT else stroke.tone, behind))
            points = swung_leg(stroke.points, reach)
        else:
            points = rotated(stroke.points, turns[stroke.part], pivots[stroke.part])
        near.append(Stroke(stroke.part, stroke.tone, points))
    return far + near


def fill_stroke(tones: Tones, points: Points, tone: int) -> None:
    """Fill a stroke, given in pixels; the circles close the holes that a tight bend leaves."""
    for x, y, radius in points.tolist():
        cv2.circle(tones, (round(x), round(y)), max(round(radius), 1), tone, cv2.FILLED)
    if len(points) == 1:
        return
    along = np.gradient(points[:, :2], axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    side = np.column_stack([-along[:, 1], along[:, 0]]) * points[:, 2:]
    outline = np.vstack([points[:, :2] + side, (points[:, :2] - side)[::-1]])
    cv2.fillPoly(tones, [np.round(outline).astype(np.int32)], tone)


def spot_centres(spacing: float, seed: int) -> Points:
    """A jittered grid over the whole animal: x, y, radius 0; the same in every frame of a burst."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(-1.5, 1.0, spacing), np.arange(0.12, 0.9, spacing))
    x[::2] += spacing / 2
    grid = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    return grid + random.normal(0, spacing / 7, grid.shape) * (1, 1, 0)


def spotted(tones: Tones, centres: Points, radius: float, hollow: bool) -> Tones:
    """Lay spots, or rosettes, on the coat; `centres` and `radius` are in pixels."""
    marks = np.zeros_like(tones)
    for x, y in np.round(centres[:, :2]).astype(int).tolist():
        cv2.circle(marks, (x, y), max(round(radius), 1), DARK, cv2.FILLED)
        if hollow and radius > 3:
            cv2.circle(marks, (x, y), round(radius / 2), SHADE, cv2.FILLED)
    return np.where((marks > NOTHING) & (tones == COAT), marks, tones)


def projected(points: Points, scale: float, facing: int, degrees: float) -> Points:
    """Body units to pixels about the animal's feet, y down; columns x, y, radius."""
    return rotated(points, degrees, np.zeros(3)) * (scale * facing, -scale, scale)


def paint_tones(meeting: Encounter, scale: float, lean: float, random: Random) -> tuple[Tones, Points]:
    """The tone of each pixel of an animal, and where its feet (x, y) are in that patch."""
    strokes = pose(meeting.strokes, random)
    paths = [projected(stroke.points, scale, meeting.facing, lean) for stroke in strokes]
    low = np.min([(path[:, :2] - path[:, 2:]).min(axis=0) for path in paths], axis=0) - 4
    high = np.max([(path[:, :2] + path[:, 2:]).max(axis=0) for path in paths], axis=0) + 4
    width, height = (np.ceil((high - low) / SUPERSAMPLING).astype(int) * SUPERSAMPLING).tolist()
    tones, shift = np.zeros((height, width), dtype=np.uint8), np.array([*-low, 0.0])
    for stroke, path in zip(strokes, paths, strict=True):
        fill_stroke(tones, path + shift, stroke.tone)
        if stroke.part == "tail" and meeting.ringed:
            for start in range(1, len(path) - 1, 3):
                fill_stroke(tones, path[start : start + 2] * (1, 1, 0.9) + shift, DARK)
    if meeting.spots:
        spacing, radius, hollow = meeting.spots
        centres = projected(spot_centres(spacing, meeting.seed), scale, meeting.facing, lean) + shift
        tones = spotted(tones, centres, radius * scale, hollow)
    return tones, -low


def roundness(alpha: Picture) -> Picture:
    """Shading that makes a flat shape look round: bright above, dark below and at the rim."""
    size = max(alpha.shape[0] // 12, 1)
    soft = cv2.GaussianBlur(alpha, (0, 0), size)
    lit = np.roll(soft, -size, axis=0) - np.roll(soft, size, axis=0)
    return np.clip(0.62 + 0.42 * soft + 0.4 * lit, 0.35, 1.3)[..., None]


def draw_animal(meeting: Encounter, scene: Scene, random: Random) -> tuple[Picture, Picture, Points]:
    """One pose of the animal: colours (h, w, 3), alpha (h, w, 1) and its feet (x, y) in that patch."""
    tallest = max((stroke.points[:, 1] + stroke.points[:, 2]).max() for stroke in meeting.strokes)
    scale = SUPERSAMPLING * meeting.height * len(scene.backdrop) / tallest
    tones, feet = paint_tones(meeting, scale, scene.tilt * meeting.facing + random.normal(0, 3), random)
    size = (tones.shape[1] // SUPERSAMPLING, tones.shape[0] // SUPERSAMPLING)
    alpha = cv2.resize((tones > NOTHING).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(meeting.palette[tones], size, interpolation=cv2.INTER_AREA)
    colours = colours / np.maximum(alpha, 0.02)[..., None]  # the empty tone is black: undo its share
    fur = 1 + 0.07 * random.standard_normal((*alpha.shape, 1), dtype=np.float32)
    smear = round(abs(meeting.pace) * scene.backdrop.shape[1] * (0.12 if meeting.night else 0.04))
    alpha = cv2.blur(alpha, (max(smear, 1), 1))
    return colours * roundness(alpha) * fur, alpha[..., None], feet / SUPERSAMPLING


def overlap(alpha: Picture, offset: int, size: int) -> tuple[int, int]:
    """First and last + 1 of what can be seen, moved by `offset` and cut to 0 ... size."""
    inside = np.flatnonzero(alpha)
    return (max(inside[0] + offset, 0), min(inside[-1] + 1 + offset, size)) if len(inside) else (0, 0)


def blend(picture: Picture, layer: Picture, alpha: Picture, left: int, top: int) -> None:
    """Lay `layer` (h, w, 3) over `picture` in place; what lies outside the frame is cut off."""
    y0, y1 = overlap(alpha.max(axis=(1, 2)), top, picture.shape[0])
    x0, x1 = overlap(alpha.max(axis=(0, 2)), left, picture.shape[1])
    if y0 < y1 and x0 < x1:
        inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        below = picture[y0:y1, x0:x1]
        below += (layer[inner] - below) * alpha[inner]


def octaves(random: Random, shape: tuple[int, int], cells: tuple[int, int], count: int = 5) -> Picture:
    """Fractal noise of `shape`, mean 0.5, from `cells` (rows, columns) up to ever finer grids."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(count):
        grid = random.random((cells[0] << octave, cells[1] << octave), dtype=np.float32) - 0.5
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return 0.5 + 0.75 * total


def mixed(first: Colour, second: Colour, share: Picture) -> Picture:
    """From `first` (share 0) to `second` (share 1); `share` has shape (height, width)."""
    return first + (second - first) * np.clip(share, 0, 1)[..., None]


def draw_backdrop(random: Random, shape: tuple[int, int], colours: Picture, horizon: float) -> Tones:
    """Sky, a wall of leaves and the ground, with nothing on it yet."""
    sky, dark, light, soil = colours
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    leaves = (octaves(random, shape, (4, 7), 6) - 0.5) * random.uniform(1.2, 2.6)
    wall = mixed(dark, light, 0.5 + leaves - 0.3 * y / horizon)
    gap = octaves(random, shape, (3, 5)) + 0.5 * (0.7 - y / horizon) - random.uniform(0.35, 0.9)
    wall = mixed(wall, sky, 9 * gap)
    ground = mixed(soil, light, 1.8 * (octaves(random, shape, (9, 3), 5) - random.uniform(0.2, 0.8)))
    ground *= 0.7 + 0.45 * octaves(random, shape, (12, 8), 5)[..., None]
    edge = y - horizon + 0.12 * (octaves(random, shape, (2, 6)) - 0.5)
    return mixed(wall, ground * (0.75 + 0.4 * y[..., None]), edge * 40).clip(0, 255).astype(np.uint8)


def draw_path(canvas: Tones, random: Random, soil: Colour, horizon: float) -> None:
    """A trodden path from the lower edge to the horizon, on some sites."""
    height, width = canvas.shape[:2]
    foot, goal, half = random.uniform(0.1, 0.9), random.uniform(0.2, 0.8), random.uniform(0.08, 0.22)
    corners = [(foot - half, 1), (goal - 0.02, horizon), (goal + 0.02, horizon), (foot + half, 1)]
    pixels, layer = np.round(np.array(corners) * (width, height)).astype(np.int32), canvas.copy()
    cv2.fillPoly(layer, [pixels], (soil * 1.25).tolist())
    cv2.addWeighted(cv2.GaussianBlur(layer, (0, 0), height / 60), 0.6, canvas, 0.4, 0, dst=canvas)


def draw_rocks(canvas: Tones, random: Random, horizon: float) -> None:
    """Up to six stones and stumps of an animal's size, lit from above."""
    height, width = canvas.shape[:2]
    for depth in np.sort(random.uniform(horizon, 1, random.integers(0, 7))):
        size = height * random.uniform(0.02, 0.12) * (0.3 + depth)
        centre = (round(random.uniform(0, width)), round(depth * height))
        grey = random.uniform(40, 130) * random.uniform(0.9, 1.1, 3)
        for rise in np.linspace(0, 1, 7):
            axes = (round(size * (1.3 - 0.8 * rise)), round(size * (0.8 - 0.65 * rise)))
            middle, colour = (centre[0], round(centre[1] - 0.5 * rise * size)), grey * (0.5 + 0.6 * rise)
            cv2.ellipse(canvas, middle, axes, 0, 0, 360, colour.tolist(), cv2.FILLED, cv2.LINE_AA)


def draw_trunks(canvas: Tones, random: Random, horizon: float) -> None:
    """Up to six trunks: the nearer, the wider and the lower their foot."""
    height, width = canvas.shape[:2]
    bark = random.uniform(35, 120) * np.array((1.0, 0.88, 0.74))
    for foot in np.sort(random.uniform(horizon, min(horizon + 0.35, 0.95), random.integers(0, 7))):
        x, lean = random.uniform(0, width), random.normal(0, 0.06) * height
        half = height * (0.012 + 0.12 * (foot - horizon)) * random.uniform(0.6, 1.6)
        for strip in np.linspace(-1, 1, 9):
            colour = bark * (1 - 0.45 * abs(strip + 0.3)) * random.uniform(0.75, 1.2)
            low = (round(x + strip * half), round(foot * height))
            high = (round(x + lean + strip * half * 0.7), -5)
            cv2.line(canvas, low, high, colour.tolist(), max(round(half / 3), 1), cv2.LINE_AA)


def draw_grass(
    canvas: Picture,
    blades: tuple[Colour, Colour],
    count: int,
    corners: tuple[Corner, Corner],
    size: float,
    random: Random,
) -> None:
    """Draw grass of about `size` pixels, rooted between `corners`, in colours between those of `blades`."""
    roots = random.uniform(*corners, (count, 2))
    roots = roots[np.argsort(roots[:, 1])]  # the far ones first
    lines = np.column_stack([roots, roots + size * random.normal((0, -0.9), (0.4, 0.3), (count, 2))])
    colours = (blades[0] + (blades[1] - blades[0]) * random.random((count, 1))).tolist()
    for (x0, y0, x1, y1), colour in zip(np.round(lines).astype(int).tolist(), colours, strict=True):
        cv2.line(canvas, (x0, y0), (x1, y1), colour, 1 + (canvas.shape[0] > 400), cv2.LINE_AA)


def draw_scene(random: Random, width: int, height: int) -> Scene:
    """A site: its backdrop and its camera, drawn from `random`, for frames of width x height pixels."""
    biome = np.array(BIOMES[random.integers(len(BIOMES))], dtype=np.float32)
    colours = biome * random.uniform(0.75, 1.3, (4, 1)) * random.uniform(0.9, 1.1, (4, 3))
    horizon, blades = random.uniform(0.22, 0.5), (colours[1] * 1.2, colours[2] * 1.1)
    canvas = draw_backdrop(random, (height, width), colours, horizon)
    if random.random() < 0.4:
        draw_path(canvas, random, colours[3], horizon)
    draw_rocks(canvas, random, horizon)
    draw_trunks(canvas, random, horizon)
    count, bottom = int(random.choice([60, 250, 700])), np.array((width, height))
    draw_grass(canvas, blades, count, (bottom * (0, horizon), bottom), height / 22, random)
    tilt = random.normal(0, 3)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1)
    ground = cv2.warpAffine(canvas, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    bare = ground[round(0.7 * height) :]
    grass, edge = bare.copy(), (width, len(bare))
    draw_grass(grass, blades, count // 2, ((0, edge[1]), edge), height / 7, random)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)[..., None]
    flash = np.exp(-random.uniform(0.5, 1.3) * ((x - random.normal(0, 0.25)) ** 2 + (y - 0.4) ** 2))
    return Scene(
        backdrop=ground.astype(np.float32),
        grass=grass.astype(np.float32),
        cover=np.array((grass != bare).any(axis=2), dtype=np.float32)[..., None],
        flash=0.12 + random.uniform(0.7, 1.1) * flash,
        vignette=1 - random.uniform(0.05, 0.3) * (x**2 + y**2),
        noise=random.standard_normal((height, width, 1), dtype=np.float32),
        blades=blades,
        horizon=horizon,
        tilt=tilt,
        haze=random.uniform(0, 0.25),
        grain=random.uniform(1, 6),
        light=(random.uniform(0.8, 1.25) * random.uniform(0.92, 1.08, 3)).astype(np.float32),
    )


def blend_ellipse(
    picture: Picture, colour: Colour, centre: Corner, axes: Corner, degrees: float, blur: float
) -> None:
    """Lay a half-transparent ellipse with a soft rim over `picture`; all lengths in pixels."""
    mask = np.zeros(picture.shape[:2], dtype=np.float32)
    middle, radii = (round(centre[0]), round(centre[1])), (round(axes[0]) + 1, round(axes[1]) + 1)
    cv2.ellipse(mask, middle, radii, degrees, 0, 360, 0.55, cv2.FILLED)
    alpha = cv2.GaussianBlur(mask, (0, 0), blur)[..., None]
    blend(picture, np.broadcast_to(colour, picture.shape), alpha, 0, 0)


def draw_clutter(picture: Picture, kind: str, colour: Colour, random: Random) -> None:
    """What deceives: one of CLUTTER (half axes and blur, as shares of the height) below the sky."""
    height, width = picture.shape[:2]
    length, breadth, blur = height * np.array(CLUTTER[kind]) * random.uniform(0.4, 1)
    centre = (random.uniform(0, width), random.uniform(0.4, 0.9) * height)
    own = colour * (0.3 if kind == "shadow" else 1)
    blend_ellipse(picture, own, centre, (length, breadth), random.uniform(-30, 30), blur)


def draw_visitor(picture: Picture, scene: Scene, meeting: Encounter, frame: int, random: Random) -> None:
    """The animal where it is in this frame of the burst, its shadow, and the grass before its feet."""
    height, width = picture.shape[:2]
    colours, alpha, feet = draw_animal(meeting, scene, random)
    x, y = (meeting.x + frame * meeting.pace) * width, meeting.feet * height + random.normal(0, height / 150)
    around = picture[round(0.9 * y) : round(y) + 1].mean(axis=(0, 1))
    if not (meeting.night or meeting.aloft):
        axes = (0.32 * alpha.shape[1], 0.05 * alpha.shape[0])
        blend_ellipse(picture, np.zeros(3, dtype=np.float32), (x, y), axes, 0, axes[1])
    colours += (around - colours) * scene.haze
    blend(picture, colours, alpha, round(x - feet[0]), round(y - feet[1]))
    fixed = np.random.default_rng(meeting.seed)
    reach, size = 0.6 * alpha.shape[1], alpha.shape[0] * fixed.uniform(0.15, 0.45)
    corners = (x - reach, y), (x + reach, y + height / 40)
    draw_grass(picture, scene.blades, meeting.tufts, corners, size, fixed)


def swaying(layer: Picture, wind: float) -> Picture:
    """A layer sheared sideways, its lower edge at rest; `wind` is the shift of the top over the height."""
    shear = np.array([[1, wind, -wind * len(layer)], [0, 1, 0]], dtype=np.float32)
    return cv2.warpAffine(layer, shear, layer.shape[1::-1]).reshape(layer.shape)


def develop(picture: Picture, scene: Scene, meeting: Encounter, random: Random) -> Tones:
    """What the camera makes of the light: grey under its infrared flash, noise, eight bits."""
    light = scene.light * meeting.light
    if meeting.night:
        picture = (picture @ INFRARED)[..., None]
        light = scene.flash * (1.5 * meeting.light.mean())
    picture = picture * (scene.vignette * light)
    picture += np.roll(scene.noise, random.integers(scene.noise.size)) * (scene.grain + 3 * meeting.night)
    pixels = np.clip(picture, 0, 255, out=picture).astype(np.uint8)
    return np.broadcast_to(pixels, scene.backdrop.shape).copy()  # grey has one channel so far


def draw_frame(scene: Scene, meeting: Encounter, frame: int, random: Random) -> Tones:
    """Frame number `frame` of a burst: RGB of shape (height, width, 3)."""
    picture = np.roll(scene.backdrop, random.integers(-1, 2), axis=1)  # the camera is never quite still
    weather = np.random.default_rng(meeting.seed)
    picture *= 0.65 + 0.7 * octaves(weather, picture.shape[:2], (3, 4), 1)[..., None]
    for kind in meeting.clutter:
        draw_clutter(picture, kind, scene.blades[0] if weather.random() < 0.5 else scene.blades[1], random)
    if meeting.strokes:
        draw_visitor(picture, scene, meeting, frame, random)
    grass, cover = (swaying(layer, meeting.wind) for layer in (scene.grass, scene.cover))
    blend(picture, grass, cover, 0, len(picture) - len(grass))
    return develop(picture, scene, meeting, random)
