"""Colours for unobserved texels: diffusion over the surface, and push-pull outside the charts."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import coo_matrix, diags, eye
from scipy.sparse.linalg import splu

from texture.system import Seams, System
from texture.texels import TexelMap

VERTEX_COLOR_WEIGHT = 100.0  # of the colour of vertices at observed texels; an edge to a neighbour has 1
TEXEL_COLOR_WEIGHT = 1e3  # of the colour of observed texels; the difference to a neighbouring texel has 1
RELAXATION_ITERATIONS = 40  # of conjugate gradients, which smooth the border between observed and diffused texels


def inpaint(texture: np.ndarray, observed: np.ndarray, texels: TexelMap, faces: np.ndarray, seams: Seams) -> np.ndarray:
    """Texture with the unobserved texels filled.

    Unobserved texels of the charts take colours that diffuse over the surface (Laplace equation) from the observed
    ones, so that no seam shows; texels outside the charts by push-pull, so that filters read no foreign colour.

    Args:
        texture: (H, W, 3).
        observed: (H, W) bool, texels that keep their colour.
        texels: gives the surface point of each texel.
        faces: (F, 3) welded.
        seams: lookups on both sides of the seams.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: no texel of a chart is observed.
    """
    known = observed & texels.valid
    if not known.any():
        raise ValueError("inpaint: no texel is observed, so there is no colour to diffuse")
    filled = texture.astype(np.float32)
    if (texels.valid & ~known).any():
        diffused = np.zeros_like(filled)
        diffused[texels.valid] = texels.interpolate(vertex_colors(texture, known, texels, faces), faces)
        filled = np.where(known[..., None], filled, diffused)
        system = System(texels.chart, seams, smoothness=1.0, seam_weight=1.0)
        system.constrain_texels(known, filled, TEXEL_COLOR_WEIGHT)
        filled = np.where(known[..., None], filled, system.solve(filled, RELAXATION_ITERATIONS))
    return np.clip(push_pull(filled, texels.valid.astype(np.float32)), 0.0, 1.0)


def vertex_colors(texture: np.ndarray, known: np.ndarray, texels: TexelMap, faces: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3): the mean of the known texels around each vertex, diffused over the edges to the others.

    Solves the graph Laplacian's equation with weighted colours; components without any known texel take the mean.
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
    directed = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    adjacency = (directed + directed.T).tocsr()
    laplacian = diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    color_weight = np.where(weight > 1e-6, VERTEX_COLOR_WEIGHT, 0.0)
    colors_less_mean = sums / np.maximum(weight, 1e-6)[:, None] - mean
    matrix = (laplacian + diags(color_weight) + 1e-6 * eye(count)).tocsc()
    solved = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(color_weight[:, None] * colors_less_mean)
    return np.clip(solved + mean, 0.0, 1.0).astype(np.float32)


def push_pull(texture: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Image (H, W, C) filled where its weight (H, W) is 0, by push-pull over an image pyramid.

    Source: Gortler et al. 1996, "The Lumigraph", section 3.4.2 (pull and push). Pixels with a positive
    weight keep their colour; an image without any weight is returned unchanged.
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
        upsampled = cv2.resize(coarse, share.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(colors.shape)
        coarse = colors + (1 - share[..., None]) * upsampled
    return coarse
