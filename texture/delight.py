"""Albedo from the observed pixels: the light of the video is fitted, and colours are divided by the shading it gives.

The light is distant, fixed relative to the video's camera and the same in all frames; surfaces are matte. Then the
logarithm of a linear colour is that of the albedo plus that of the shading, a smooth function of the normal: spherical
harmonics up to the second order. The fit compares pairs of pixels that are likely to have the same albedo, which
cancels in their difference:

- the same place on the surface in two frames, between which it has rotated;
- any two pixels of similar chromaticity: most objects have few paints (the non-local prior of intrinsic images: Shen et
  al. 2008, "Intrinsic image decomposition with non-local texture cues").

Pairs of other albedos are outliers to a Geman-McClure kernel, whose scale is lowered step by step (graduated
non-convexity: Black and Rangarajan 1996). Cast shadows and ambient occlusion are not modelled and stay in the albedo.

The lighting of stage 3 (``registration.correspondences.appearance_model``) is of no use here: it is relative to the
colours of a key frame's mesh, which a generator took from the frame, with its shading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from texture.observe import ObservedPixels
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.spherical_harmonics import spherical_harmonics

PIXELS = 200_000  # of all views, drawn at random, at most
PAIRS = 200_000  # of each kind, at most
PLACES = 512  # cells along a side of the texture; pixels in one cell show the same place
LEAST_WEIGHT = 0.1  # of a pixel; others are near outlines, where normals and colours are least reliable
DARK = 0.05  # linear colour at which the weight of a pair is one half: logarithms of dark colours are noisy
FLOOR = 0.01  # added to linear colours before the logarithm
CHROMATICITY_SCALE = 0.15  # difference (logarithms of RGB less their mean) of similar ones; chosen on examples/
SCALES = (1.0, 0.5, 0.25)  # of the kernel, in logarithms of linear colour; chosen on examples/
ITERATIONS = 3  # of reweighting at each scale
RIDGE = 3e-4  # towards uniform light, relative to the summed weights of the pairs; chosen on examples/
SHADING_RANGE = (0.2, 5.0)  # factors by which colours are divided
ALBEDO_QUANTILE = 0.995  # of the observed albedos, that is at most 1


@dataclass(frozen=True)
class Lighting:
    """Shading of matte surfaces by the light of a video.

    Attributes:
        coefficients: (9, 3) float64 of ``spherical_harmonics`` of the normal in the space of the video's camera, for
            the logarithm of the factor on each channel of the linear albedo.
    """

    coefficients: np.ndarray

    def shading(self, normals: np.ndarray) -> np.ndarray:
        """Factors (N, 3) on the linear albedo, by unit normals (N, 3).

        The video shows no surface that faces away from its camera. Colours of such surfaces are estimates from what
        the camera sees, so they get the shading of the mirror image of their normal.
        """
        facing = normals * [1, 1, 0] - np.abs(normals) * [0, 0, 1]
        return np.exp(_basis(facing) @ self.coefficients).clip(*SHADING_RANGE)

    def albedo(self, colors: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Colours (N, 3) sRGB without the shading."""
        return linear_to_srgb(srgb_to_linear(colors) / self.shading(normals))


def fit_lighting(views: list[ObservedPixels], seed: int) -> Lighting:
    """Lighting of a video, such that the mean logarithm of the shading over the observed pixels is 0, or above.

    The brightness and tint of light and albedo cannot be told apart. Where albedos would exceed 1, the light is
    brighter.

    Args:
        views: observed pixels of the frames.
        seed: of the drawn pixels and pairs.
    """
    generator = np.random.default_rng(seed)
    parts = [(view, np.flatnonzero(view.weights > LEAST_WEIGHT), index) for index, view in enumerate(views)]
    share = min(1.0, PIXELS / max(1, sum(len(chosen) for _, chosen, _ in parts)))
    parts = [(view, chosen[generator.random(len(chosen)) < share], index) for view, chosen, index in parts]
    uvs, colors, normals = (
        np.concatenate([getattr(view, name)[chosen] for view, chosen, _ in parts])
        for name in ("uvs", "colors", "normals")
    )
    frame = np.concatenate([np.full(len(chosen), index) for _, chosen, index in parts])
    basis = _basis(normals)
    coefficients = np.zeros((basis.shape[1], 3))
    if len(colors) < 2:
        return Lighting(coefficients)
    linear = srgb_to_linear(colors).astype(np.float64)
    logarithm = np.log(linear + FLOOR)
    first, second, weight = _pairs(uvs, logarithm, frame, generator)
    darker = np.minimum(linear[first].mean(1), linear[second].mean(1))
    weight = weight * darker / (darker + DARK)
    coefficients[1:] = _robust_fit((basis[first] - basis[second])[:, 1:], logarithm[first] - logarithm[second], weight)
    coefficients[0] = -(basis @ coefficients).mean(0)
    brightest = np.quantile(linear / np.exp(basis @ coefficients), ALBEDO_QUANTILE)
    coefficients[0] += np.log(max(1.0, brightest))
    return Lighting(coefficients)


def without_shading(views: list[ObservedPixels], lighting: Lighting) -> list[ObservedPixels]:
    """The views with albedos in place of colours."""
    return [replace(view, colors=lighting.albedo(view.colors, view.normals)) for view in views]


def draw_lighting(lighting: Lighting, size: int = 256) -> np.ndarray:
    """Image (S, S, 3) uint8 of a grey sphere in the light, seen from the video's camera, on black."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    inside = x**2 + y**2 < 1
    z = -np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    image = np.zeros((size, size, 3), np.float32)
    image[inside] = linear_to_srgb(0.3 * lighting.shading(np.stack([x, y, z], -1)[inside]))
    return (image * 255).round().astype(np.uint8)


def _basis(normals: np.ndarray) -> np.ndarray:
    """Spherical harmonics (N, 9) of normals (N, 3)."""
    return spherical_harmonics(torch.from_numpy(np.asarray(normals, dtype=np.float64))).numpy()


def _pairs(
    uvs: np.ndarray, logarithm: np.ndarray, frame: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of pixels that are likely to have the same albedo: indices (P,) of both, and weights (P,)."""
    count = len(uvs)
    cell = np.clip((uvs * PLACES).astype(np.int64), 0, PLACES - 1)
    place = cell[:, 1] * PLACES + cell[:, 0]
    order = generator.permutation(count)[:PAIRS]
    order = order[np.argsort(place[order], kind="stable")]
    first, second = order[:-1], order[1:]
    same = (place[first] == place[second]) & (frame[first] != frame[second])
    first, second = first[same], second[same]
    one, other = generator.integers(count, size=(2, PAIRS))
    chromaticity = logarithm - logarithm.mean(1, keepdims=True)
    similarity = np.exp(-np.square((chromaticity[one] - chromaticity[other]) / CHROMATICITY_SCALE).sum(1))
    kept = similarity > 0.05
    return (
        np.concatenate([first, one[kept]]),
        np.concatenate([second, other[kept]]),
        np.concatenate([np.ones(len(first)), similarity[kept]]),
    )


def _robust_fit(system: np.ndarray, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Solution (8, 3) of ``system @ x = values`` by iteratively reweighted least squares.

    Args:
        system: (P, 8).
        values: (P, 3).
        weight: (P,).
    """
    solution = np.zeros((system.shape[1], values.shape[1]))
    for scale in SCALES:
        for _ in range(ITERATIONS):
            square = np.square(values - system @ solution).mean(1)
            reweighted = weight / np.square(1 + square / scale**2)
            ridge = RIDGE * max(reweighted.sum(), 1e-12) * np.eye(system.shape[1])
            weighted = system * reweighted[:, None]
            solution = np.linalg.solve(system.T @ weighted + ridge, weighted.T @ values)
    return solution
