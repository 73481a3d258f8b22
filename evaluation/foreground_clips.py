"""Test clips of foreground segmentation: animated characters composited over photographs, with their true masks.

Characters are rendered from animated glTF files, or are folders of RGBA pictures; backgrounds are the photographs in
scikit-image's wheel, and noise. The camera is still, pans, zooms or jitters over the background; the object moves on
its own. Contact shadows, camouflage, sensor noise and JPEG compression are options of a clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import imageio.v3 as iio
import numpy as np
from skimage import data

from v2m4.camera import DEFAULT_FOV, Orbit, framing
from v2m4.io.folder import PICTURE_SUFFIXES
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.names import natural_key
from v2m4.lit_frames import render_frames, surface_paint

FRAMES = 16
NOISE_LEVELS = 2.0  # standard deviation of the sensor's noise, of 255
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ForegroundClip:
    """How one clip is made.

    Attributes:
        name: of the clip.
        character: a glTF file or a folder of RGBA pictures, relative to the data folder; ``examples/...`` is relative
            to the program's folder.
        photograph: name of a function of ``skimage.data``, or ``noise``.
        part: of the photograph that is used: left, upper, right and lower edge, shares of its sides; None for all.
        camera: motion of the camera over the background.
        size: (width, height), pixels.
        height: of the object's pictures, as a share of the clip's height.
        travel: of the object across the picture, as a share of its width.
        yaw: of the render, degrees.
        moves: name of the glTF file's clip; None is its first.
        shadow: whether the object casts a soft shadow on the ground.
        quality: of JPEG compression; 0 for none.
        camouflage: share in [0, 1] by which the background's mean colour is moved to the object's.
        group: of the suite.
    """

    name: str
    character: str
    photograph: str
    part: tuple[float, float, float, float] | None = None
    camera: Literal["still", "pan", "zoom", "jitter"] = "still"
    size: tuple[int, int] = (640, 480)
    height: float = 0.8
    travel: float = 0.0
    yaw: float = 35.0
    moves: str | None = None
    shadow: bool = False
    quality: int = 0
    camouflage: float = 0.0
    group: str = ""


@dataclass(frozen=True)
class TrueClip:
    """A clip and its truth.

    Attributes:
        pictures: (H, W, 3) uint8 each.
        alphas: (H, W) uint8 each.
    """

    pictures: list[np.ndarray]
    alphas: list[np.ndarray]


def make_clip(clip: ForegroundClip, data_folder: Path) -> TrueClip:
    """Render and composite a clip; the same arguments give the same bytes.

    Raises:
        FileNotFoundError: the character is not there.
        ValueError: the character's file is not readable.
    """
    cutouts = character_pictures(clip, data_folder)
    randomness = np.random.default_rng(sum(map(ord, clip.name)))
    width, height = clip.size
    scene = _background(clip, _mean_colour(cutouts))
    pictures, alphas = [], []
    for index, cutout in enumerate(cutouts):
        phase = index / max(1, len(cutouts) - 1)
        layer = _placed(cutout, clip, phase)
        backdrop = _seen(scene, clip, phase, index)
        alpha = layer[..., 3:].astype(np.float32) / 255
        if clip.shadow:
            backdrop = backdrop * (1 - 0.5 * _shadow(alpha[..., 0])[..., None])
        picture = alpha * layer[..., :3] + (1 - alpha) * backdrop
        picture += randomness.normal(0, NOISE_LEVELS, (height, width, 3))
        picture = np.clip(np.round(picture), 0, 255).astype(np.uint8)
        pictures.append(_compressed(picture, clip.quality) if clip.quality else picture)
        alphas.append(layer[..., 3])
    return TrueClip(pictures, alphas)


def character_pictures(clip: ForegroundClip, data_folder: Path) -> list[np.ndarray]:
    """RGBA pictures (S, S, 4) uint8 of the clip's character."""
    base = ROOT if clip.character.startswith("examples/") else data_folder
    path = base / clip.character
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES), key=_file_key)
        return [iio.imread(file) for file in files[:FRAMES]]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder of the data with --data")
    clips = list_animations(path)
    chosen = next(item for item in clips if clip.moves in (None, item.name))
    times = chosen.start + (chosen.stop - chosen.start) * np.arange(FRAMES) / FRAMES
    asset = read_animation(path, chosen.name, times, weld=True)
    matrix = asset[0].normalizing()
    poses = asset.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    orbit = Orbit.from_parameters(framing(poses, clip.yaw, 8.0, 0.92, DEFAULT_FOV)[None])
    side = round(clip.height * clip.size[1])
    return list(render_frames(poses, asset.mesh.faces, surface_paint(asset.mesh), orbit, side))


def _file_key(file: Path) -> tuple[object, ...]:
    return tuple(natural_key(file.name))


def _mean_colour(cutouts: list[np.ndarray]) -> np.ndarray:
    """Mean colour (3,) of the opaque pixels of the first picture."""
    first = cutouts[0]
    return first[first[..., 3] > 200][:, :3].mean(0)


@lru_cache(maxsize=4)
def photograph(name: str) -> np.ndarray:
    """A photograph of ``skimage.data``, or coloured noise of several octaves, (H, W, 3) uint8."""
    if name.startswith("noise"):
        randomness = np.random.default_rng(len(name))
        picture = np.full((600, 800, 3), 128.0)
        for octave in range(2, 8):
            cells = randomness.normal(0, 160 / octave**1.2, (3 * 2**octave // 4, 2**octave, 3))
            picture += cv2.resize(cells, (800, 600), interpolation=cv2.INTER_CUBIC)
        return np.clip(picture, 0, 255).astype(np.uint8)
    picture = getattr(data, name)()
    if isinstance(picture, tuple):  # a stereo pair
        picture = picture[0]
    return np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]


def _background(clip: ForegroundClip, object_colour: np.ndarray) -> np.ndarray:
    """The photograph, large enough for the camera's motion, (H', W', 3) float32."""
    width, height = clip.size
    margin = 1.0 if clip.camera == "still" else 1.35
    picture = photograph(clip.photograph)
    if clip.part is not None:
        x0, y0, x1, y1 = (np.array(clip.part) * [*picture.shape[1::-1], *picture.shape[1::-1]]).astype(int)
        picture = picture[y0:y1, x0:x1]
    scale = margin * max(width / picture.shape[1], height / picture.shape[0])
    size = (math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale))
    scene = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    scene = scene.astype(np.float32)
    return np.clip(scene + clip.camouflage * (object_colour - scene.mean((0, 1))), 0, 255).astype(np.float32)


def _seen(scene: np.ndarray, clip: ForegroundClip, phase: float, index: int) -> np.ndarray:
    """The part (H, W, 3) of the scene that the camera sees."""
    width, height = clip.size
    free = np.array([scene.shape[1] - width, scene.shape[0] - height], np.float32)
    corner, zoom = np.asarray(free / 2, np.float64), 1.0
    match clip.camera:
        case "pan":
            corner = free * np.array([0.1 + 0.8 * phase, 0.5 + 0.2 * math.sin(4 * phase)])
        case "zoom":
            zoom = 1.0 + 0.25 * phase
        case "jitter":
            corner = corner + np.array([6 * math.sin(2.1 * index), 5 * math.cos(2.9 * index)])
    centre = corner + np.array([width, height]) / 2
    matrix = np.array(
        [
            [1 / zoom, 0, centre[0] - width / 2 / zoom],
            [0, 1 / zoom, centre[1] - height / 2 / zoom],
        ],
        np.float32,
    )
    return cv2.warpAffine(
        scene, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )


def _placed(cutout: np.ndarray, clip: ForegroundClip, phase: float) -> np.ndarray:
    """The object's picture in the clip's frame, (H, W, 4) uint8 straight alpha."""
    width, height = clip.size
    side = clip.height * height
    scale = side / cutout.shape[0]
    shift = np.array([(width - side) / 2 + clip.travel * (phase - 0.5) * width, (height - side) * 0.6])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    premultiplied = cutout.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    if scale < 1:
        premultiplied = cv2.resize(premultiplied, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matrix[:, :2] = np.eye(2)
    layer = cv2.warpAffine(premultiplied, matrix, (width, height), flags=cv2.INTER_LINEAR)
    colour = layer[..., :3] / np.maximum(layer[..., 3:] / 255, 1 / 255)
    return np.clip(np.round(np.dstack([colour, layer[..., 3]])), 0, 255).astype(np.uint8)


def _shadow(alpha: np.ndarray) -> np.ndarray:
    """Soft shadow (H, W) in [0, 1] on the ground under the object."""
    height, width = alpha.shape
    ys, xs = np.flatnonzero(alpha.max(1) > 0.5), np.flatnonzero(alpha.max(0) > 0.5)
    shade = np.zeros((height, width), np.float32)
    if not len(ys):
        return shade
    centre = ((int(xs[0]) + int(xs[-1])) // 2, int(ys[-1]))
    axes = (max(2, round(0.55 * len(xs))), max(2, round(0.12 * len(ys))))
    cv2.ellipse(shade, centre, axes, 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(shade, (0, 0), 0.03 * width)


def _compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG compression."""
    _, code = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
