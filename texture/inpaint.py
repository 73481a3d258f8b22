"""Colours for texels that no view sees: diffused over the surface, then past the charts' borders."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import coo_matrix, diags, eye
from scipy.sparse.linalg import splu

from texture.system import Seams, System
from texture.texels import TexelMap

KNOWN = 100.0  # how firmly seen vertices keep their colour, against one neighbour
PIN = 1e3  # the same for seen texels
RELAXATION = 40  # iterations that even out what the surface's diffusion leaves at the rim of seen texels


def inpaint(texture: np.ndarray, seen: np.ndarray, texels: TexelMap, faces: np.ndarray, seams: Seams) -> np.ndarray:
    """Fill the texels that were not seen.

    Unseen texels of the charts take colours that diffuse over the surface from the nearest seen ones, so that no chart
    shows where it ends; texels outside the charts take colours by push-pull, so that filters find nothing foreign.

    Args:
        texture: (H, W, 3).
        seen: (H, W) bool, texels that keep their colour.
        texels: which point of the surface each texel holds.
        faces: (F, 3) welded.
        seams: lookups on both sides of the seams.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: no texel of a chart was seen.
    """
    known = seen & texels.valid
    if not known.any():
        raise ValueError("inpaint: no texel was seen, so there is no colour to spread")
    filled = texture.astype(np.float32)
    if (texels.valid & ~known).any():
        spread = np.zeros_like(filled)
        spread[texels.valid] = texels.interpolate(vertex_colors(texture, known, texels, faces), faces)
        filled = np.where(known[..., None], filled, spread)
        system = System(texels.chart, seams, smoothness=1.0, coupling=1.0)
        system.pin(known, filled, PIN)
        filled = np.where(known[..., None], filled, system.solve(filled, RELAXATION))
    return np.clip(push_pull(filled, texels.valid.astype(np.float32)), 0.0, 1.0)


def vertex_colors(texture: np.ndarray, known: np.ndarray, texels: TexelMap, faces: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3): the mean of the known texels round a vertex.

    Where there are none, colours diffuse over the edges; parts of the mesh without any take the mean colour of all.
    """
    count = int(faces.max()) + 1
    corners = faces[texels.face[known]]
    shares = texels.weights[known].astype(np.float64)
    colors = texture[known].astype(np.float64)
    weight = sum(np.bincount(corners[:, k], shares[:, k], count) for k in range(3))
    sums = np.stack(
        [sum(np.bincount(corners[:, k], shares[:, k] * colors[:, c], count) for k in range(3)) for c in range(3)], 1
    )
    mean = colors.mean(0)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    one_way = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    adjacency = (one_way + one_way.T).tocsr()
    laplacian = diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    pinned = np.where(weight > 1e-6, KNOWN, 0.0)
    local = sums / np.maximum(weight, 1e-6)[:, None] - mean
    matrix = (laplacian + diags(pinned) + 1e-6 * eye(count)).tocsc()
    solved = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(pinned[:, None] * local)
    return np.clip(solved + mean, 0.0, 1.0).astype(np.float32)


def push_pull(texture: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill a picture (H, W, C) where its weight (H, W) is 0, from coarser and coarser means of the rest.

    Source: Gortler et al. 1996, "The Lumigraph", section 3.4.2 (pull and push). Pixels of any weight keep their colour;
    a picture without any weight stays as it is.
    """
    solid = (weight > 0).astype(np.float32)
    if not solid.any():
        return texture.astype(np.float32)
    levels: list[tuple[np.ndarray, np.ndarray]] = [(texture.astype(np.float32) * solid[..., None], solid)]
    while max(levels[-1][1].shape) > 1:
        colors, share = levels[-1]
        size = ((share.shape[1] + 1) // 2, (share.shape[0] + 1) // 2)
        sums = cv2.resize(colors, size, interpolation=cv2.INTER_AREA)
        total = cv2.resize(share, size, interpolation=cv2.INTER_AREA)
        scale = np.where(total > 0, np.minimum(total * 4, 1.0) / np.maximum(total, 1e-12), 0.0)
        levels.append((sums.reshape(*total.shape, -1) * scale[..., None], total * scale))
    coarse = levels[-1][0] / np.maximum(levels[-1][1], 1e-12)[..., None]
    for colors, share in reversed(levels[:-1]):
        wide = cv2.resize(coarse, share.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(colors.shape)
        coarse = colors + (1 - share[..., None]) * wide
    return coarse
