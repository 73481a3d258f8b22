"""Check what a run left against what is expected of it.

The GLB is parsed by ``evaluation.input_glb``, not by the reader under test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from evaluation import gltf_validator
from evaluation.input_cases import ExpectedAnimation
from evaluation.input_glb import Glb
from v2m4.io.names import natural_key

INSIDE_ERRORS = re.compile(
    r"Traceback|Assertion|arg is an empty sequence|linalg|zero-size array|out of range|error: \(-\d+"
    r"|\b(Index|Key|Attribute|Type|ZeroDivision|Unicode\w*|Recursion|LinAlg)Error\b|not enough values"
)
ANIMATION = "output_animation.glb"
PICTURES, MASKS = "*_rmbg.png", "output_final_rendering_masks"
BOX = 64  # pixels (side) at which masks scaled to their bounding boxes are compared
OF_THE_INPUT = {"INVALID_EXTENSION_NAME_FORMAT"}  # names of extensions are kept: VRM 0.x is called just "VRM"
# Of the file's own skin, which is kept.
OF_A_SKELETON = {"NODE_SKINNED_MESH_NON_ROOT", "NODE_SKINNED_MESH_LOCAL_TRANSFORMS", "ACCESSOR_JOINTS_USED_ZERO_WEIGHT"}


def check_glb(path: Path, skeleton: bool = False) -> Iterator[str]:
    """Yield what is wrong with any written GLB: numbers that are not finite, targets that differ, the validator's.

    Args:
        path: the file.
        skeleton: whether its animation has to be one of joints, else of morph weights.
    """
    glb = Glb.read(path)
    for index in range(len(glb.json.get("accessors", []))):
        if not np.isfinite(glb.values(index)).all():
            yield f"accessor {index} has numbers that are not finite"
    for mesh in glb.json.get("meshes", []):
        counts = {len(primitive.get("targets", [])) for primitive in mesh["primitives"]}
        if counts != {len(mesh.get("weights", []))}:
            yield f"mesh {mesh.get('name')!r} has {sorted(counts)} targets and {len(mesh.get('weights', []))} weights"
    if skeleton and not glb.animated_joints():
        yield "no animation of joints"
    if not skeleton and glb.weight_times() is None:
        yield "no animation of morph weights"
    for material in glb.json.get("materials", []):
        factor = material.get("pbrMetallicRoughness", {}).get("baseColorFactor", [1, 1, 1, 1])
        if material.get("alphaMode", "OPAQUE") != "OPAQUE" and factor[3] < 0.05:
            yield f"material {material.get('name')!r} cannot be seen (alpha {factor[3]})"
    if gltf_validator.is_installed():
        (issues,) = gltf_validator.validate([path])
        serious = [each for each in issues["messages"] if each["severity"] < 2]
        known = OF_THE_INPUT | (OF_A_SKELETON if skeleton else set())
        messages = [each for each in serious if each["code"] not in known]
        if messages:
            yield f"validator: {len(messages)}, first {messages[0]['code']} at {messages[0].get('pointer')}"


def check_animation(folder: Path, expected: ExpectedAnimation, cases: Path) -> Iterator[str]:
    """Yield what is not as expected of one animation's folder.

    Args:
        folder: the animation's output, rendered by rendering_video.py where ``overlap`` is expected.
        expected: the expectations.
        cases: the folder of cases.
    """
    path = folder / ANIMATION
    if not path.is_file():
        yield f"no {ANIMATION}"
        return
    yield from check_glb(path, expected.skeleton)
    glb = Glb.read(path)
    yield from _check_times(glb.weight_times(), expected)
    yield from _check_mesh(glb, expected)
    named = json.dumps([glb.json.get("extensionsUsed", []), list(glb.json.get("extensions", {}))])
    yield from (f"extension {name} is gone" for name in expected.extensions if f'"{name}"' not in named)
    if expected.like is not None:
        yield from _check_pictures(folder, cases / expected.like, expected)
    if expected.overlap is not None:
        overlap = rendered_overlap(folder)
        if not overlap >= expected.overlap:
            yield f"overlap with the clip {overlap:.3f}, expected {expected.overlap}"


def _check_times(times: np.ndarray | None, expected: ExpectedAnimation) -> Iterator[str]:
    found = np.zeros(0) if times is None else times
    if expected.frames is not None and len(found) != expected.frames:
        yield f"{len(found)} frames, expected {expected.frames}"
    if expected.times is not None and (
        len(found) != len(expected.times) or np.abs(found - np.array(expected.times)).max() > 1e-3
    ):
        yield f"key times {np.round(found, 3).tolist()}, expected {expected.times}"


def _check_mesh(glb: Glb, expected: ExpectedAnimation) -> Iterator[str]:
    """Compare the first pose's mesh, its materials and its motion."""
    parts = list(glb.primitives())
    corners = np.concatenate([part.positions[part.faces].reshape(-1, 3) for part in parts])
    lower, upper = corners.min(0), corners.max(0)
    side = float((upper - lower).max())
    area = float(sum(part.areas.sum() for part in parts))
    if expected.area is not None and abs(area - expected.area) > 1e-3 * expected.area:
        yield f"surface area {area:.2f}, expected {expected.area}"
    if expected.size is not None and abs(side - expected.size) > 0.01 * expected.size:
        yield f"size {side:.4f}, expected {expected.size}"
    if expected.middle is not None and np.abs((lower + upper) / 2 - expected.middle).max() > 0.01 * side:
        yield f"middle {((lower + upper) / 2).round(3).tolist()}, expected {expected.middle}"
    textures = ["baseColorTexture" in each.get("pbrMetallicRoughness", {}) for each in glb.json.get("materials", [])]
    if expected.textured is not None and any(textures) != expected.textured:
        yield f"{'no' if expected.textured else 'a'} base colour texture"
    if expected.albedo is not None:
        found = glb.mean_albedo()
        if not np.abs(found - expected.albedo).max() <= 0.04:
            yield f"mean base colour {found.round(3).tolist()}, expected {expected.albedo}"
    if expected.moves is not None:
        shares = (
            np.abs(glb.values(target["POSITION"])).max()
            / max(np.ptp(glb.values(primitive["attributes"]["POSITION"]), axis=0).max(), 1e-30)
            for mesh in glb.json["meshes"]
            for primitive in mesh["primitives"]
            for target in primitive.get("targets", [])
        )
        moved = max(map(float, shares), default=0.0)
        if moved < expected.moves:
            yield f"moves by {moved:.4f} of its size, expected {expected.moves}"


def _check_pictures(folder: Path, truth: Path, expected: ExpectedAnimation) -> Iterator[str]:
    """Compare the clip's pictures with the most similar true ones."""
    true = [iio.imread(file) for file in sorted(truth.glob("*.png"))]
    pictures = sorted(folder.glob(PICTURES), key=lambda file: natural_key(file.name))
    if not pictures or not true:
        yield f"{len(pictures)} pictures to compare with {len(true)}"
    for file in pictures:
        picture = iio.imread(file)
        overlaps = [_iou(_boxed(picture), _boxed(each)) for each in true]
        best = int(np.argmax(overlaps))
        if overlaps[best] < expected.like_iou:
            yield f"{file.name}: mask IoU {overlaps[best]:.3f} with the most similar true picture"
            return
        difference = np.abs(_mean_colour(picture) - _mean_colour(true[best])).max()
        if difference > expected.like_colour:
            yield f"{file.name}: mean colour differs by {difference:.3f}"
            return


def _boxed(picture: np.ndarray) -> np.ndarray:
    """The mask of an RGBA picture, scaled to its bounding box, (BOX, BOX) bool."""
    mask = picture[..., 3] > 127
    if not mask.any():
        return np.zeros((BOX, BOX), bool)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    return np.asarray(cv2.resize(window, (BOX, BOX), interpolation=cv2.INTER_AREA)) > 0.5


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(float((a | b).sum()), 1.0))


def _mean_colour(picture: np.ndarray) -> np.ndarray:
    """Mean colour (3,) of the opaque pixels, sRGB in [0, 1]."""
    return np.asarray(picture[picture[..., 3] > 200][:, :3], np.float64).mean(0) / 255


def rendered_overlap(folder: Path) -> float:
    """Mean IoU of rendering_video.py's masks and the clip's pictures; 0 where they do not pair."""
    masks = sorted((folder / MASKS).glob("*.png"), key=lambda file: natural_key(file.name))
    pictures = sorted(folder.glob(PICTURES), key=lambda file: natural_key(file.name))
    if not masks or len(masks) != len(pictures):
        return 0.0
    values = []
    for mask, picture in zip(masks, pictures, strict=True):
        alpha = iio.imread(picture)[..., 3]
        rendered = cv2.resize(iio.imread(mask), alpha.shape[1::-1], interpolation=cv2.INTER_AREA)
        values.append(_iou(rendered > 127, alpha > 127))
    return float(np.mean(values))
