"""Random views of subjects: camera, light, shading, textures, masks; and the true maps of each view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from generators.prior.crossings import Crossings, ray_crossings
from generators.prior.maps import SIZE, Window, base_maps
from generators.prior.subjects import Subject
from v2m4.creatures.solid_texture import solid_texture

SUPERSAMPLING = 2
MIN_PIXELS = 60  # of the mask of a view


@dataclass(frozen=True)
class View:
    """A rendered window of a subject and its true maps, in half the window's side; see ``maps``.

    Attributes:
        image: (S, S, 4) uint8, straight alpha.
        back: (S, S, 3) uint8, colours of the far side.
        depth: (S, S, 4) float16: first entry, first exit, last entry, last exit; their mean distance is 0.
        valid: (S, S) uint8, 1 where the depths are known.
        base: (S, S, 3) float16: centre, thickness and distance of ``Inflate``.
        window: (3,) float32: focal, offset x, offset y.
    """

    image: np.ndarray
    back: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    base: np.ndarray
    window: np.ndarray


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Rotation (3, 3) from the subject to a camera with y up: yaw all round, pitch of the camera -25 to 45 degrees."""
    yaw = rng.uniform(0, 2 * math.pi)
    if rng.uniform() < 0.3:  # front, sides and back are frequent in videos
        yaw = math.pi / 2 * int(rng.integers(4)) + rng.normal(0, 0.15)
    pitch = float(np.clip(rng.normal(8, 14), -25, 45)) * math.pi / 180
    roll = rng.normal(0, 4) * math.pi / 180
    return rotation(yaw, pitch, roll)


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) from world to a camera with y up that looks along -z: about y, then x, then z."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    about_y = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    cosine, sine = math.cos(pitch), math.sin(pitch)
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    cosine, sine = math.cos(roll), math.sin(roll)
    about_z = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _deformed(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (V, 3) in the unit cube, stretched along the axes, of other proportions, and warped smoothly."""
    low, high = points.min(0), points.max(0)
    points = (points - (low + high) / 2) / max(float((high - low).max()), 1e-9)
    points = points * np.exp(rng.normal(0, 0.16, 3))
    for axis in (1, 2):  # other proportions: sections across the vertical and the forward axis change in size
        if rng.uniform() < 0.35:
            logarithm = np.interp(points[:, axis], np.linspace(-0.5, 0.5, 4), rng.normal(0, 0.22, 4))
            points[:, [other for other in range(3) if other != axis]] *= np.exp(logarithm)[:, None]
    if rng.uniform() < 0.4:
        for _ in range(2):
            wave, shift = rng.normal(0, 4, 3), rng.uniform(0, 2 * math.pi)
            points = points + 0.03 * rng.normal(0, 1, 3) * np.sin(points @ wave + shift)[:, None]
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) / max(float((high - low).max()), 1e-9)


def random_view(subject: Subject, rng: np.random.Generator) -> View | None:
    """A random view of a subject; None where it is almost invisible."""
    points = _deformed(subject.poses[int(rng.integers(len(subject.poses)))].astype(np.float64), rng)
    half = math.tan(math.radians(rng.uniform(20, 60)) / 2)
    fill = rng.uniform(0.35, 0.95)
    seen = points @ random_rotation(rng).T
    distance = 0.5 / (fill * half) + float(seen[:, 2].max())
    shift = rng.uniform(-1, 1, 2) * (1 - fill) * half
    depth = distance - seen[:, 2]
    camera = np.stack([seen[:, 0] + shift[0] * distance, -seen[:, 1] + shift[1] * distance, depth], 1)
    return render_view(
        subject, camera, rng, margin=float(rng.uniform(1.05, 1.2)), jitter=rng.uniform(-1, 1, 2), plain=False
    )


def render_view(
    subject: Subject,
    camera: np.ndarray,
    rng: np.random.Generator,
    margin: float,
    jitter: np.ndarray | None = None,
    plain: bool = True,
    size: int = SIZE,
) -> View | None:
    """View of a subject in camera space.

    Args:
        subject: its faces and colours are used.
        camera: (V, 3), OpenCV axes, all in front of the camera.
        rng: of light, texture and mask.
        margin: side of the window over the longer side of the object.
        jitter: (2,) in [-1, 1], position of the object within the margin.
        plain: the subject's own colours, simple light, an exact mask.
        size: pixels of the window's side.
    """
    tangents = camera[:, :2] / camera[:, 2:]
    low, high = tangents.min(0), tangents.max(0)
    half = 0.5 * float((high - low).max()) * margin
    middle = (low + high) / 2
    if jitter is not None:
        middle = middle + jitter * (half - 0.5 * (high - low)) * 0.6
    window = Window(1 / half, (float(middle[0] / half), float(middle[1] / half)))
    fine = size * SUPERSAMPLING
    pixels = ((tangents - middle) / half + 1) * fine / 2
    crossings = ray_crossings(np.concatenate([pixels, camera[:, 2:]], 1), subject.faces, (fine, fine))
    if crossings.hit.sum() < MIN_PIXELS * SUPERSAMPLING**2:
        return None
    front, back = _shade(subject, camera, crossings, rng, plain)
    hit = crossings.hit.astype(np.float32)
    alpha = _pooled(hit)
    known = alpha >= 0.5
    weight = np.maximum(alpha, 1e-6)[..., None]
    depth = _pooled(crossings.depth * hit[..., None]) / weight
    image = _pooled(front * hit[..., None]) / weight
    behind = _pooled(back * hit[..., None]) / weight
    mask = alpha if plain else _damaged(alpha, rng)
    if not plain:
        image = _blemished(image, mask, rng)
    mask8 = np.rint(mask * 255).astype(np.uint8)
    valid = known & (mask8 > 127)
    if valid.sum() < MIN_PIXELS:
        return None
    base = base_maps(mask8, window)
    mean = float(depth[valid][:, [0, 3]].mean())
    stored = np.where(valid[..., None], (depth / mean - 1) * window.focal, 0)
    return View(
        np.concatenate([np.rint(image.clip(0, 1) * 255).astype(np.uint8), mask8[..., None]], -1),
        np.rint(behind.clip(0, 1) * 255).astype(np.uint8),
        stored.astype(np.float16),
        valid.astype(np.uint8),
        np.stack([base.centre, base.thickness, base.distance], -1).astype(np.float16),
        np.array([window.focal, *window.offset], np.float32),
    )


def _pooled(values: np.ndarray) -> np.ndarray:
    """Means over the samples of each pixel, (S, S, ...)."""
    step = SUPERSAMPLING
    return np.mean([values[i::step, j::step] for i in range(step) for j in range(step)], 0)


def _shade(
    subject: Subject, camera: np.ndarray, crossings: Crossings, rng: np.random.Generator, plain: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (H, W, 3) of the first and last crossings; the far side is lit as its mirror image in front would be."""
    hit = crossings.hit
    faces = crossings.face[hit]  # (N, 2)
    weights = np.concatenate([crossings.barycentric[hit], 1 - crossings.barycentric[hit].sum(-1, keepdims=True)], -1)
    corners = subject.faces[faces]  # (N, 2, 3)

    def interpolate(values: np.ndarray) -> np.ndarray:
        return (values[corners] * weights[..., None]).sum(2)

    if not plain and rng.uniform() < 0.25:
        albedo = solid_texture(interpolate(subject.poses[0]), subject.poses[0], rng)
    elif subject.texture is not None and subject.uvs is not None:
        uvs = interpolate(subject.uvs) % 1.0
        height, width = subject.texture.shape[:2]
        rows, columns = (uvs[..., 1] * height).astype(int) % height, (uvs[..., 0] * width).astype(int) % width
        albedo = subject.texture[rows, columns] / np.float32(255)
    else:
        assert subject.colors is not None
        albedo = interpolate(subject.colors)
    mode = "lambert" if plain else str(rng.choice(["unlit", "lambert", "flat", "cel"], p=[0.15, 0.45, 0.2, 0.2]))
    light = np.array([0.3, -0.7, -0.6]) if plain else rng.normal(0, 1, 3) * [1, 1, 0.7] + [0, -0.6, -0.7]
    light /= np.linalg.norm(light)
    ambient = 0.45 if plain else rng.uniform(0.15, 0.8)
    if mode == "unlit":
        shade = np.ones((len(faces), 2))
    else:
        triangles = camera[subject.faces]
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        if mode == "flat":
            normals = normals[faces]
        else:
            smooth = np.zeros_like(camera)
            for corner in range(3):
                np.add.at(smooth, subject.faces[:, corner], normals)
            normals = interpolate(smooth)
        normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
        normals[..., 2] = -np.abs(normals[..., 2])  # towards the camera
        lit = np.clip(normals @ light, 0, 1)
        if mode == "cel":
            steps = int(rng.integers(2, 4))
            lit = np.floor(lit * steps + rng.uniform(0, 1)) / steps
        shade = ambient + (1 - ambient) * lit * rng.uniform(1.0, 1.4)
    colors = np.clip(albedo * shade[..., None], 0, 1)
    front, back = np.zeros((2, *hit.shape, 3))
    front[hit], back[hit] = colors[:, 0], colors[:, 1]
    return front, back


def _damaged(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask (S, S) with the defects of segmentation: soft or hard, eaten or bloated, with holes and bites."""
    if rng.uniform() < 0.6:
        return alpha
    mask = alpha.astype(np.float32)
    if rng.uniform() < 0.6:
        blurred = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.3))
        mask = np.clip((blurred - rng.uniform(0.3, 0.65)) * rng.uniform(1.5, 8) + 0.5, 0, 1)
    if rng.uniform() < 0.5:
        rows, columns = np.nonzero(mask > 0.5)
        for _ in range(int(rng.integers(1, 4)) if len(rows) else 0):
            at = int(rng.integers(len(rows)))
            radius = float(rng.uniform(0.7, 3.0))
            cv2.circle(mask, (int(columns[at]), int(rows[at])), round(radius), 0.0, -1)
    return mask


def _blemished(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colours (S, S, 3) with outlines, baked shadows, blur and background that shines through at the rim."""
    image = image.astype(np.float32)
    if rng.uniform() < 0.15:
        edge = mask - cv2.erode(mask.astype(np.float32), np.ones((3, 3)))
        image = image * (1 - 0.9 * edge[..., None])
    if rng.uniform() < 0.2:
        shadow = cv2.resize(rng.uniform(0.4, 1.2, (4, 4)).astype(np.float32), image.shape[:2][::-1])
        image = image * shadow[..., None]
    if rng.uniform() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    if rng.uniform() < 0.2:
        edge = 1 - np.clip(cv2.erode(mask.astype(np.float32), np.ones((3, 3))), 0, 1)
        image = image + (rng.uniform(0, 1, 3) - image) * (rng.uniform(0, 0.7) * edge[..., None])
    return image.astype(np.float32)
