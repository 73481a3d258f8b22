"""Prediction: a mesh in the pose of the first frame and a video become a mesh sequence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from motion324.embedding import SurfacePoints
from motion324.network import MotionNetwork
from motion324.pictures import video_pictures
from motion324.smoothing import Smoothing
from motion324.surface import sampled_points, vertex_points
from v2m4 import threads
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]

IMAGES_AT_ONCE = 8  # encoded


@dataclass(frozen=True)
class Prediction:
    """Options of a prediction.

    Attributes:
        window: frames encoded together, at most, the first frame of the video among them; 0 for the network's own.
        chunk: pairs of a frame and a vertex decoded at once.
        precision: of the products; ``auto`` is bfloat16 where the hardware multiplies in it, as the released program
            does, and single precision elsewhere.
        smoothing: over time; None for none.
        anchored: add to every frame what the network's first frame lacks to the mesh, so that the first frame is the
            mesh, with all its details.
        seed: of the points that encode the mesh.
    """

    window: int = 0
    chunk: int = 2048
    precision: Precision = "auto"
    smoothing: Smoothing | None = field(default_factory=Smoothing)
    anchored: bool = False
    seed: int = 0


def predict(
    network: MotionNetwork,
    mesh: Mesh,
    frames: Sequence[Frame] | Tensor,
    times: np.ndarray | None = None,
    options: Prediction | None = None,
) -> MeshSequence:
    """Move a mesh as a video shows.

    Args:
        network: on any device; the computation takes place there.
        mesh: in the pose of the first frame, y up as in glTF, of any size and place.
        frames: T frames, background removed; or pictures (T, 3, H, W) sRGB in [0, 1], the object on black, cropped.
        times: (T,) seconds; the frames' numbers if None.
        options: see ``Prediction``.

    Returns:
        poses (T, V, 3) in the mesh's space, on the mesh's device; its rest pose is ``mesh``.

    Raises:
        ValueError: there is no frame, no frame shows the object, or the mesh has no area.
    """
    options = options or Prediction()
    if len(frames) == 0:
        raise ValueError("predict: no frames")
    pictures = frames if isinstance(frames, Tensor) else video_pictures(frames, network.config)
    matrix = mesh.normalizing()
    normalised = mesh.transformed(matrix)
    generator = torch.Generator().manual_seed(options.seed)
    surface = sampled_points(normalised, network.config.surface_points, generator)
    positions = trajectories(network, surface, vertex_points(normalised), pictures, options)
    positions = positions.to(mesh.vertices)
    if options.anchored:
        positions = positions + (normalised.vertices - positions[0])
    if options.smoothing is not None:
        positions = options.smoothing(positions)
    vertices = (positions - matrix[:3, 3]) / matrix[0, 0]
    return MeshSequence(vertices, mesh, np.arange(len(vertices), dtype=np.float64) if times is None else times)


@torch.no_grad()
def trajectories(
    network: MotionNetwork, surface: SurfacePoints, queries: SurfacePoints, pictures: Tensor, options: Prediction
) -> Tensor:
    """Positions of query points in every frame, not smoothed; image tokens and the mesh's latents are computed once.

    Args:
        network: see ``predict``.
        surface: (1, N, 3) each, encode the mesh.
        queries: (1, Q, 3) each.
        pictures: (T, 3, H, W).
        options: see ``Prediction``.

    Returns:
        (T, Q, 3) on the network's device, in the normalised space.
    """
    device = network.latent_queries.device
    surface, queries = surface.to(device), queries.to(device)
    rounded = options.precision == "bfloat16" or (options.precision == "auto" and multiplies_in_bfloat16(device))
    log.info("motion network: %d frames, %d points, %s", len(pictures), len(queries), "bf16" if rounded else "fp32")
    with _ready(network, device, rounded):
        tokens = torch.cat([network.encode_images(part.to(device)[None])[0] for part in pictures.split(IMAGES_AT_ONCE)])
        mesh = network.encode_surface(surface)
        result = torch.zeros(len(pictures), len(queries), 3, device=device)
        for window in windows(len(pictures), options.window or network.config.window):
            latents = network.encode_video(mesh, tokens[window][None])
            new = 0 if window[-1] < len(window) else 1  # the first frame is taken from the first window
            result[window[new:]] = network.decode(latents[:, new:], queries, options.chunk)[0]
    return result


def windows(count: int, size: int) -> list[list[int]]:
    """Frames of each window: the first frame, then consecutive ones; together they cover all.

    The last window reaches back where its frames would be fewer, and its frames replace those of the one before.

    Raises:
        ValueError: the size is less than 2.
    """
    if size < 2:
        raise ValueError(f"window: at least 2 frames (the first and one more), got {size}")
    if count <= size:
        return [list(range(count))]
    starts = [*range(1, count - size + 1, size - 1), count - size + 1]
    return [[0, *range(start, start + size - 1)] for start in dict.fromkeys(starts)]


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether the device's hardware multiplies in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name, which may go
    return device.type == "cpu" and supported is not None and bool(supported())


@contextmanager
def _ready(network: MotionNetwork, device: torch.device, rounded: bool) -> Iterator[None]:
    """Context in which the network runs: in evaluation mode, all threads, the precision; it is restored afterwards."""
    training = network.training
    weights = {name: value.data for name, value in network.named_parameters()} if rounded else {}
    network.eval()
    if rounded:
        network.lower_precision()
    try:
        with threads.for_networks(), torch.autocast(device.type, torch.bfloat16, enabled=rounded):
            yield
    finally:
        for name, value in network.named_parameters():
            if name in weights:
                value.data = weights[name]
        network.train(training)
