"""Colours for unobserved texels: random walks over the surface, and push-pull outside the charts."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, eye
from scipy.sparse.linalg import splu

from texture.system import Seams, System
from texture.texels import TexelMap

BORDER_WEIGHT = 100.0  # of the colour of vertices at observed texels; an edge to a neighbour has 1
CLUSTERS = 16  # of the border's colours, at most
COLOR_SCALE = 0.2  # difference (sRGB in [0, 1]) of similar colours; this and the next chosen on examples/
SHARPNESS = 3  # exponent of probabilities
TEXEL_COLOR_WEIGHT = 1e3  # of the colour of observed texels; the difference to a neighbouring texel has 1
RELAXATION_ITERATIONS = 40  # of conjugate gradients, which smooth the border between observed and filled texels


def inpaint(texture: np.ndarray, observed: np.ndarray, texels: TexelMap, faces: np.ndarray, seams: Seams) -> np.ndarray:
    """Texture with the unobserved texels filled.

    Unobserved texels of the charts take colours over the surface from the observed ones (``vertex_colors``), with a
    smooth transition (Laplace equation), so that no seam shows; texels outside the charts by push-pull, so that filters
    read no foreign colour.

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
        raise ValueError("inpaint: no texel is observed, so there is no colour to spread")
    filled = texture.astype(np.float32)
    if (texels.valid & ~known).any():
        spread = np.zeros_like(filled)
        spread[texels.valid] = texels.interpolate(vertex_colors(texture, known, texels, faces), faces)
        filled = np.where(known[..., None], filled, spread)
        system = System(texels.chart, seams, smoothness=1.0, seam_weight=1.0)
        system.constrain_texels(known, filled, TEXEL_COLOR_WEIGHT)
        filled = np.where(known[..., None], filled, system.solve(filled, RELAXATION_ITERATIONS))
    return np.clip(push_pull(filled, texels.valid.astype(np.float32)), 0.0, 1.0)


def vertex_colors(texture: np.ndarray, known: np.ndarray, texels: TexelMap, faces: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3): the mean of the known texels around each vertex, spread over the edges to the others.

    The colour of a vertex without known texels is the mode of what random walks from it meet first: harmonic functions
    give the probability and the mean colour of each cluster of the colours at the border (Grady 2006, "Random walks for
    image segmentation"). Probabilities are weighted by the share of the known surface that has a similar colour, so
    that the flank of an animal takes the colour of the body, not of the spikes on its outline, and sharpened before
    the clusters are averaged: the mean, a plain harmonic function, would blend the colours of all parts around.
    Components without any known texel take the mean of all.
    """
    count = int(faces.max()) + 1
    corners = faces[texels.face[known]]
    shares = texels.weights[known].astype(np.float64)
    texel_colors = texture[known].astype(np.float64)

    def sum_by_vertex(values: np.ndarray) -> np.ndarray:
        return np.sum([np.bincount(corners[:, k], shares[:, k] * values, count) for k in range(3)], 0)

    weight = sum_by_vertex(np.ones(len(corners)))
    colored = weight > 1e-6
    sums = np.stack([sum_by_vertex(texel_colors[:, c]) for c in range(3)], 1)
    colors = np.where(colored[:, None], sums / np.maximum(weight, 1e-6)[:, None], texel_colors.mean(0))
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    directed = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    adjacency = (directed + directed.T).tocsr()
    border = colored & (adjacency @ (~colored).astype(np.float64) > 0)
    if border.any():
        used = np.flatnonzero(border | ~colored)
        met = _first_met(adjacency[used][:, used], border[used], colors[used], colors[colored])
        colors[used] = np.where(colored[used, None] | np.isnan(met), colors[used], met)
    return np.clip(colors, 0.0, 1.0).astype(np.float32)


def _first_met(adjacency: csr_matrix, border: np.ndarray, colors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mode (N, 3) of the border's colours that random walks meet first; NaN where they meet none.

    Args:
        adjacency: (N, N) of the graph.
        border: (N,) bool, vertices at which walks end.
        colors: (N, 3), used on the border.
        known: (M, 3) colours of all known vertices.
    """
    centers, labels = clusters(colors[border], CLUSTERS)
    member = np.zeros((len(border), len(centers)))
    member[np.flatnonzero(border), labels] = 1
    ends = np.where(border, BORDER_WEIGHT, 0.0)
    laplacian = diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    system = splu((laplacian + diags(ends) + 1e-9 * eye(len(border))).tocsc(), permc_spec="MMD_AT_PLUS_A")
    probability = np.maximum(system.solve(ends[:, None] * member), 0.0)
    weight = _similarity(known, centers).mean(0) ** SHARPNESS * (probability @ _similarity(centers, centers)) ** (
        SHARPNESS - 1
    )
    sums = np.stack(
        [(weight * system.solve(ends[:, None] * member * colors[:, c : c + 1])).sum(1) for c in range(3)], 1
    )
    total = (weight * probability).sum(1)[:, None]
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 1e-30)


def _similarity(colors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Similarity (N, K) in (0, 1] of colours (N, 3) and cluster centres (K, 3)."""
    return np.exp(-np.square((colors[:, None] - centers) / COLOR_SCALE).sum(-1))


def clusters(points: np.ndarray, count: int, iterations: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """At most ``count`` cluster centres (K, C) of points (N, C), and each point's cluster (N,).

    Lloyd's algorithm (k-means) from centres that are far from each other: the first is the point farthest from the
    mean, each further one the point farthest from all before (Gonzalez 1985).
    """
    distance = np.square(points - points.mean(0)).sum(1)
    chosen: list[int] = []
    while len(chosen) < count and (not chosen or distance.max() > 0):
        chosen.append(int(distance.argmax()))
        to_chosen = np.square(points - points[chosen[-1]]).sum(1)
        distance = to_chosen if len(chosen) == 1 else np.minimum(distance, to_chosen)
    centers = points[chosen].astype(np.float64)
    labels = np.zeros(len(points), dtype=np.int64)
    for _ in range(iterations):
        labels = np.square(points[:, None] - centers).sum(-1).argmin(1)
        size = np.bincount(labels, minlength=len(centers))
        sums = np.stack([np.bincount(labels, values, len(centers)) for values in points.T], 1)
        centers = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centers)
    return centers, labels


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
