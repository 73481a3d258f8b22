"""From a frame to what the network changes in the result of ``Inflate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from generators.prior.dataset import assemble_inputs
from generators.prior.maps import BaseMaps, Window, base_maps, crop, object_window
from generators.prior.network import Features, Prior, decode, encode, interpret
from generators.prior.tilt import deviation, log_likelihood, median_ramps
from v2m4.frame import Frame

SMOOTHING = 0.5  # standard deviation of the maps' smoothing, pixels of the crop
NEARBY = 3  # pixels of the crop, side of the square about a changed one that is filled in, too
CHANGE = 0.12  # of a colour by the network, above which it removes a feature
LEAST_TRUST = 0.03  # mean over a Gaussian, for colours to be filled in from it
TILT_MEMORY = 2.0  # key frames: standard deviation of the weights of other frames' tilts


@dataclass(frozen=True)
class Correction:
    """What the network changes in ``Inflate``'s result, on the pixels of a crop of a picture.

    Attributes:
        place: (left, top, side) of the crop, pixels of the picture.
        window: the same, as rays.
        known: (S, S) bool, inside the silhouette.
        shift: (S, S) displacement along the rays, in half the crop's side.
        log_ratio: (S, S) logarithm of the factor on the thickness.
        front: (S, S, 3) colours of the near side.
        colors: (S, S, 3) change of colour from the near to the far side.
        confidence: (S, S) in [0, 1], of the far side's colours.
    """

    place: tuple[float, float, float]
    window: Window
    known: np.ndarray
    shift: np.ndarray
    log_ratio: np.ndarray
    front: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray

    def at(self, values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Values (..., C) of a map (S, S, C) at pixels (..., 2) of the picture, extrapolated past the silhouette."""
        left, top, side = self.place
        smooth = extrapolated(values, self.known)
        where = (pixels - [left, top]) * (values.shape[0] / side) - 0.5
        coordinates = [where[..., 1], where[..., 0]]
        return np.stack(
            [
                ndimage.map_coordinates(smooth[..., c], coordinates, order=1, mode="nearest")
                for c in range(values.shape[2])
            ],
            -1,
        )


def extrapolated(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Known values (S, S, C), smoothed a little, and extrapolated by wider and wider normalised Gaussians."""
    result, missing = np.zeros(values.shape, np.float64), np.ones(known.shape, bool)
    values, weight = np.where(known[..., None], values, 0), known.astype(np.float64)
    _fill(result, missing, values, weight, (SMOOTHING, 1.5, 4.0, 16.0), 0.05)
    _fill(result, missing, values, weight, (64.0,), 0.0)
    return result


def _fill(
    result: np.ndarray,
    missing: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    sigmas: Sequence[float],
    least: float,
) -> None:
    """Set missing pixels to weighted Gaussian means, of the first width at which the mean weight is above ``least``.

    Args:
        result: (S, S, C), written where pixels are missing.
        missing: (S, S) bool; pixels that are set are so no longer.
        values: (S, S, C).
        weight: (S, S) of the values.
        sigmas: widths, pixels.
        least: mean weight.
    """
    for sigma in sigmas:
        density = ndimage.gaussian_filter(weight, sigma)
        found = missing & (density > least)
        total = ndimage.gaussian_filter(values * weight[..., None], (sigma, sigma, 0))
        result[found] = total[found] / density[found][:, None]
        missing &= ~found


@dataclass(frozen=True)
class Observation:
    """What the network finds in a frame.

    Attributes:
        place: (left, top, side) of the crop, pixels of the picture.
        window: the same, as rays.
        base: maps of ``Inflate`` over it.
        picture: (4, S, S) colours and mask of the crop.
        features: of the network.
    """

    place: tuple[float, float, float]
    window: Window
    base: BaseMaps
    picture: torch.Tensor
    features: Features


def observe(network: Prior, frame: Frame) -> Observation:
    """Features of a frame.

    Raises:
        ValueError: the frame has almost no foreground.
    """
    window, place = object_window(frame.rgba[..., 3], frame.fov)
    cut = crop(frame.rgba, place)
    base = base_maps(cut[..., 3], window)
    picture = torch.from_numpy(cut.astype(np.float32) / 255).permute(2, 0, 1)
    maps = torch.from_numpy(np.stack([base.centre, base.thickness, base.distance]))
    rays = torch.tensor([[window.focal, *window.offset]], dtype=torch.float32)
    inputs = assemble_inputs(picture[None, :3], picture[None, 3:], maps[None], rays)
    return Observation(place, window, base, picture, encode(network, inputs))


def correct(network: Prior, seen: Observation, tilt: torch.Tensor | None = None) -> Correction:
    """What is to be changed in ``Inflate``'s result.

    Args:
        network: that has observed.
        seen: in the frame.
        tilt: (2, BINS) logarithms of the tilt's probabilities, in place of those of the frame alone.
    """
    tilt = seen.features.tilt if tilt is None else tilt[None]
    base = torch.from_numpy(np.stack([seen.base.centre, seen.base.thickness]))[None]
    image, alpha = seen.picture[None, :3] * seen.picture[None, 3:], seen.picture[None, 3:]
    maps = decode(network, seen.features, tilt)
    found = interpret(maps, median_ramps(tilt.softmax(-1)), base, image, alpha)
    known = seen.base.thickness > 1e-6
    ratio = np.where(known, found.thickness[0, 0].numpy() / np.maximum(seen.base.thickness, 1e-6), 1)
    front = seen.picture[:3].permute(1, 2, 0).numpy()
    back = found.back.clamp(0, 1)[0].permute(1, 2, 0).numpy()
    confidence = far_confidence(back, front, known)
    return Correction(
        seen.place,
        seen.window,
        known,
        found.centre[0, 0].numpy() - seen.base.centre,
        np.log(np.maximum(ratio, 1e-6)),
        front,
        without_ghosts(back, confidence, known) - front,
        confidence,
    )


def far_confidence(back: np.ndarray, front: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Confidence (S, S) in the far side's colours, in [0, 1].

    Where the network makes the far side unlike the front (no face on the back of a head), its colours lie between what
    it removes and what it does not know.

    Args:
        back: (S, S, 3) predicted colours of the far side.
        front: (S, S, 3) colours of the near side.
        known: (S, S) bool, inside the silhouette.
    """
    change = ndimage.maximum_filter(np.linalg.norm(back - front, axis=-1), NEARBY)
    return np.where(known, np.exp(-((change / CHANGE) ** 2)), 0)


def without_ghosts(back: np.ndarray, confidence: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours (S, S, 3) of the far side, where the confidence (S, S) is low filled in from around."""
    filled, missing = back.astype(np.float64), known.copy()
    _fill(filled, missing, back, confidence, (2.0, 4.0, 8.0, 16.0, 32.0), LEAST_TRUST)
    return confidence[..., None] * back + (1 - confidence[..., None]) * filled


def tilts_of_clip(seen: Sequence[Observation], lean: float = 0.0) -> list[torch.Tensor]:
    """Tilt distributions (2, BINS), as logarithms, of a clip's frames in order.

    Each is the weighted geometric mean over the neighbouring frames, since a body turns slowly, multiplied by the
    likelihood of what the feet tell.

    Args:
        seen: in the frames.
        lean: increase of depth per distance to the right, from the feet; 0 where they tell nothing.
    """
    if not seen:
        return []
    logarithms = torch.stack([item.features.tilt[0] for item in seen])
    order = torch.arange(len(seen), dtype=torch.float32)
    weights = torch.exp(-0.5 * ((order[:, None] - order) / TILT_MEMORY).square())
    tilts = torch.einsum("ij,jkb->ikb", weights / weights.sum(1, keepdim=True), logarithms)
    if lean != 0:
        widths = torch.cat([deviation(item.picture[None, 3:])[:, 0] for item in seen])
        tilts[:, 0] += log_likelihood(lean * widths)
    return list(tilts)
