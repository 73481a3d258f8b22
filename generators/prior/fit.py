"""From corrected maps to a closed, textured mesh.

The outline is that of the picture at its own resolution: the network's maps, of few pixels, only correct the relief
that ``Inflate`` finds there. Both sheets of the mesh are the two sides of one remeshed sheet, joined at the outline.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy import ndimage

from generators.inflate import (
    edge_lengths,
    extrapolate_colors,
    height_field,
    join_sheets,
    lift,
    near_side,
    read_silhouette,
    remesh,
    to_canonical,
    triangulate,
    unproject,
)
from generators.prior.correction import Correction
from v2m4.decimate import sample_texture
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh

NEARBY = 5  # pixels of the crop, side of the square about a changed one that loses its detail
COLOR_TOLERANCE = 0.06  # difference between both sides' colours up to which the far side keeps the front's detail
MAX_REFINEMENT = 2.0  # of edges across steep places
LEAST_DEPTH = 0.2  # of a vertex over its depth by ``Inflate``


def generate(frame: Frame, correction: Correction | None, grid: int, max_faces: int, texture_size: int) -> Asset:
    """Closed, textured mesh of a frame.

    Args:
        frame: with its background removed.
        correction: of the network; None gives the result of ``Inflate``.
        grid: cells along the longer side of the silhouette.
        max_faces: at most this many faces.
        texture_size: longer side of the texture of each side at most.

    Raises:
        ValueError: the frame has almost no foreground, or its outline needs too many faces.
    """
    silhouette = read_silhouette(frame.rgba[..., 3], grid)
    shape = height_field(silhouette.level)
    factor = shape.factor
    if correction is not None:
        rows, columns = np.indices(factor.shape)
        nodes = silhouette.origin + silhouette.cell * np.stack([columns, rows], -1)
        factor = factor * np.exp(2 * correction.at(correction.log_ratio[..., None], nodes)[..., 0])
    points, faces, border = triangulate(silhouette.level)
    front = lift(points, border, silhouette.level, factor)
    if correction is None:
        size = edge_lengths(front, faces, shape.thickness, max_faces // 2)
    else:
        shift = correction.at(correction.shift[..., None], nodes)[..., 0] * (correction.place[2] / 2 / silhouette.cell)
        moved = front - [[0, 0, 1]] * ndimage.map_coordinates(shift, front[:, 1::-1].T, order=1)[:, None]
        # The sheet is remeshed before it is displaced: finer where the displacement will stretch it.
        steepness = np.hypot(*np.gradient(shift))
        size = edge_lengths(moved, faces, shape.thickness, max_faces // 2)
        size = size / np.clip((1 + steepness**2) ** 0.25, 1, MAX_REFINEMENT)
    front, faces, border = remesh(front, faces, border, silhouette.level, factor, size, max_faces // 2)
    vertices, both_faces = join_sheets(front, faces, border)

    def at_vertices(values: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(values, vertices[:, 1::-1].T, order=1, mode="nearest")

    pixels = silhouette.origin + silhouette.cell * vertices[:, :2]
    part_offset = np.stack([at_vertices(shape.center_offset[..., axis]) for axis in (0, 1)], 1)
    positions = unproject(
        pixels,
        silhouette.cell * vertices[:, 2],
        pixels + silhouette.cell * part_offset,
        silhouette.cell * at_vertices(shape.radius),
        frame.rgba.shape[:2],
        frame.fov,
    )
    if correction is not None:
        shift = correction.at(correction.shift[..., None], pixels)[:, 0] * correction.place[2] / 2
        depth = -positions[:, 2]
        positions = positions * np.maximum(1 + shift / depth, LEAST_DEPTH)[:, None]
    mesh, hint = to_canonical(positions, both_faces)
    return Asset(paint(mesh, frame.rgba, pixels, correction, texture_size), hint)


def paint(mesh: Mesh, rgba: np.ndarray, pixels: np.ndarray, correction: Correction | None, size: int) -> Mesh:
    """Mesh with the frame on its near side and the predicted colours on its far side, side by side in one texture.

    Args:
        mesh: with V vertices; the first half of its faces is the near side.
        rgba: (H, W, 4) uint8.
        pixels: (V, 2) projections of the vertices.
        correction: of the network; without it the far side mirrors the near one.
        size: longer side of each half of the texture at most.
    """
    low, high = np.floor(pixels.min(0)).astype(int) - 4, np.ceil(pixels.max(0)).astype(int) + 4
    padded = np.pad(rgba, ((8, 8), (8, 8), (0, 0)))
    near = extrapolate_colors(np.ascontiguousarray(padded[low[1] + 8 : high[1] + 8, low[0] + 8 : high[0] + 8]))
    far_half = near if correction is None else far_colors(near, low, correction)
    texture = np.concatenate([near, far_half], 1)
    shrink = size / max(near.shape[:2])
    if shrink < 1:
        shape = (2 * max(1, round(near.shape[1] * shrink)), max(1, round(near.shape[0] * shrink)))
        texture = cv2.resize(texture, shape, interpolation=cv2.INTER_AREA)
    place = (pixels - low) / (high - low)
    uvs = np.concatenate([place * [0.5, 1], place * [0.5, 1] + [0.5, 0]]).astype(np.float32)
    uv_faces = mesh.faces.clone()
    uv_faces[len(mesh.faces) // 2 :] += len(pixels)
    image = torch.from_numpy(np.ascontiguousarray(texture.astype(np.float32))).clamp(0, 1)
    uvs_tensor = torch.from_numpy(uvs)
    on_near = near_side(mesh.faces)
    own = torch.where(on_near[:, None], uvs_tensor[: len(pixels)], uvs_tensor[len(pixels) :])
    confidence = on_near.float()
    if correction is not None:
        far = correction.at(correction.confidence[..., None], pixels)[:, 0]
        confidence = torch.maximum(confidence, torch.from_numpy(far).to(confidence))
    return replace(
        mesh,
        uvs=uvs_tensor,
        uv_faces=uv_faces,
        texture=image,
        colors=sample_texture(image, own),
        color_confidence=confidence,
    )


def far_colors(near: np.ndarray, low: np.ndarray, correction: Correction) -> np.ndarray:
    """Colours (h, w, 3) of the far side.

    Where both sides differ (the far side of a face), the predicted colours alone; elsewhere with the near side's
    detail, which a map of few pixels cannot hold.

    Args:
        near: (h, w, 3) colours of the near side.
        low: (2,) pixel of the picture at its corner.
        correction: of the network.
    """
    height, width = near.shape[:2]
    rows, columns = np.indices((height, width))
    pixels = np.stack([columns, rows], -1) + low + 0.5
    change = correction.at(correction.colors, pixels)
    amount = np.linalg.norm(correction.colors, axis=-1, keepdims=True)
    amount = correction.at(ndimage.maximum_filter(amount, (NEARBY, NEARBY, 1)), pixels)
    kept = np.exp(-((amount / COLOR_TOLERANCE) ** 2))
    # The change was predicted for these colours: added to others, it would leave the outlines of what it removes.
    smooth = correction.at(correction.front, pixels)
    return np.clip(smooth + change + kept * (near - smooth), 0, 1).astype(np.float32)
