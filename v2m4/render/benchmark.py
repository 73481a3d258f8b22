"""`python -m v2m4.render.benchmark`: milliseconds per view, forward and forward with backward."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Orbit
from v2m4.command_line import OneLineParser, end_with
from v2m4.geometry import vertex_normals
from v2m4.render import render_attributes

TARGETS = {128: (1.0, 4.0), 256: (2.5, 8.0), 512: (7.0, 25.0)}  # forward, forward + backward; ms on two idle cores


def bumpy_sphere(rings: int = 71, sectors: int = 72) -> tuple[Tensor, Tensor]:
    """A closed mesh of 2 * sectors * (rings - 1) faces, 10,080 as it stands: a sphere with bumps, radius about 0.45.

    Returns:
        Vertices (V, 3) float32 and faces (F, 3) int32.
    """
    polar = np.pi * np.arange(1, rings)[:, None] / rings
    around = 2 * np.pi * np.arange(sectors)[None] / sectors
    radius = 0.4 + 0.05 * np.cos(5 * around) * np.sin(4 * polar)
    grid = np.stack(
        [radius * np.sin(polar) * np.sin(around), radius * np.cos(polar), radius * np.sin(polar) * np.cos(around)], -1
    )
    vertices = np.concatenate([grid.reshape(-1, 3), [[0, 0.4, 0], [0, -0.4, 0]]])
    index = np.arange((rings - 1) * sectors).reshape(rings - 1, sectors)
    right = np.roll(index, -1, 1)
    top, bottom = len(vertices) - 2, len(vertices) - 1
    faces = [np.stack([index[:-1], index[1:], right[1:]], -1), np.stack([index[:-1], right[1:], right[:-1]], -1)]
    caps = [
        np.stack([np.full(sectors, top), index[0], right[0]], -1),
        np.stack([np.full(sectors, bottom), right[-1], index[-1]], -1),
    ]
    joined = np.concatenate([part.reshape(-1, 3) for part in [*faces, *caps]])
    return torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(joined.astype(np.int32))


def best_and_median(function: Callable[[], object], repeats: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of one call: the shortest and the median of up to `repeats`, within about `seconds`."""
    function()
    taken: list[float] = []
    while len(taken) < repeats and (sum(taken) < seconds or len(taken) < 5):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken), 1e3 * statistics.median(taken)


def measure(size: int, views: int, repeats: int, seconds: float) -> list[tuple[str, float, float]]:
    """(what, best, median) in ms per view: mask alone, then mask with colours and normals."""
    vertices, faces = bumpy_sphere()
    angles = torch.linspace(0.0, 5.0, views)
    cameras = Orbit(angles, 0.3 * torch.cos(angles), torch.full((views,), 1.7), torch.zeros(views, 3)).camera()
    clip = cameras.clip(vertices)
    normals = vertex_normals(vertices, faces) @ cameras.extrinsics[:, :3, :3].transpose(1, 2)
    shades = (vertices + 0.5).expand(views, -1, -1)
    rows = []
    for name, attr, unit in (("mask", None, None), ("mask + colour + normal", torch.cat([shades, normals], -1), 3)):
        channels = 1 if attr is None else 7
        weight = torch.rand((views, size, size, channels), generator=torch.Generator().manual_seed(0))
        leaves = [tensor.clone().requires_grad_() if tensor is not None else None for tensor in (clip, attr)]

        def forward(attr: Tensor | None = attr, unit: int | None = unit) -> None:
            render_attributes(clip, faces, attr, (size, size), unit=unit)

        def both(leaves: list = leaves, unit: int | None = unit, weight: Tensor = weight) -> None:
            picture, _ = render_attributes(leaves[0], faces, leaves[1], (size, size), unit=unit)
            picture.backward(weight)

        for what, function in ((f"{name}, forward", forward), (f"{name}, forward + backward", both)):
            best, median = best_and_median(function, repeats, seconds)
            rows.append((what, best / views, median / views))
    return rows


def main() -> None:
    """Print the table."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--views", type=int, default=1, help="pictures in one call")
    parser.add_argument("--repeats", type=int, default=60, help="calls measured, at most")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each figure, about")
    options = parser.parse_args()
    print(f"{len(bumpy_sphere()[1])} faces, {options.views} view(s) a call; ms per view: best, median (target)")
    for size, targets in TARGETS.items():
        for what, best, median in measure(size, options.views, options.repeats, options.seconds):
            target = targets["backward" in what]
            print(f"{size:4d}^2  {what:<42} {best:7.2f} {median:7.2f}  ({target})")


if __name__ == "__main__":
    end_with(main)
