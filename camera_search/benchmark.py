"""Benchmark of the camera search: rate of correct cameras, errors and time; ``python -m camera_search.benchmark``.

Textured meshes are rendered from random cameras, and the camera is searched without a hint. A result is correct with
a rotation error of at most 10 degrees and a mask IoU of at least 0.95 (whole image, 512 x 512). ``--shading`` and
``--warp`` imitate generated meshes: a light that the search does not know, and a mesh that differs from the object
(then only the rotation is tested).
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from camera_search.search import find_camera
from camera_search.similarity import intersection_over_union
from v2m4.camera import Orbit
from v2m4.command_line import end_with, parse_options
from v2m4.config import FAST
from v2m4.frame import Frame
from v2m4.io.any_mesh import read_any_mesh
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.rotation import angles_between

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
DEGREES, IOU = 10.0, 0.95


@dataclass(frozen=True)
class Options:
    """Search for cameras of rendered meshes, without a hint."""

    # Mesh files; each is brought to the unit cube.
    mesh: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    # Cameras per mesh.
    count: int = 40
    # Seed of the cameras and of the search.
    seed: int = 0
    # Pixels (side) of the rendered frames.
    picture: int = 512
    # Share of the frames' colours that depends on a random directional light, unknown to the search (0 to 1).
    shading: float = 0.0
    # Root mean square of a smooth displacement of the mesh that is searched with, relative to its size.
    warp: float = 0.0


@dataclass
class SearchCase:
    """One search: its true camera, and the errors and time of its result."""

    name: str
    truth: Orbit
    warped: bool = False
    degrees: float = math.nan
    iou: float = math.nan
    seconds: float = math.nan
    processor: float = math.nan
    score: float = math.nan
    history: dict[str, float] = field(default_factory=dict)

    @property
    def is_correct(self) -> bool:
        """Whether the resulting camera is correct."""
        return self.degrees <= DEGREES and (self.warped or self.iou >= IOU)


def random_orbit(generator: np.random.Generator) -> Orbit:
    """Random camera: any yaw, pitch within 40 degrees, radius 1.5-4, look-at within 0.2 of the origin."""
    direction = generator.standard_normal(3)
    look_at = 0.2 * generator.random() ** (1 / 3) * direction / np.linalg.norm(direction)
    yaw, pitch = generator.uniform(-math.pi, math.pi), math.radians(generator.uniform(-40, 40))
    return Orbit.of(yaw, pitch, generator.uniform(1.5, 4.0), tuple(look_at))


def render_frame(mesh: Mesh, orbit: Orbit, size: int, shading: float = 0.0, light: Tensor | None = None) -> Frame:
    """Frame with the rendering of a mesh from a camera on a transparent background.

    Args:
        mesh: with a texture or vertex colours.
        orbit: the camera (batch of 1).
        size: pixels (side).
        shading: weight of the light, 0 to 1.
        light: (3,) unit vector towards the light, camera space; None for none.
    """
    with torch.no_grad():
        rendering = render_mesh(mesh, orbit.camera(), size, channels=("color", "mask", "normal"))
    unpremultiplied = rendering.color / rendering.mask.clamp_min(1e-3)
    if light is not None:
        light_cosine = torch.nn.functional.normalize(rendering.normal, dim=-1) @ light.to(unpremultiplied)
        unpremultiplied = unpremultiplied * (1 + shading * (1.2 * light_cosine.clamp_min(0.0)[..., None] - 0.9))
    rgba = torch.cat([unpremultiplied, rendering.mask], -1)[0].clamp(0, 1)
    return Frame("rendered", 0, (rgba * 255).round().to(torch.uint8).cpu().numpy())


def warped(mesh: Mesh, amount: float, generator: np.random.Generator) -> Mesh:
    """A mesh in the unit cube under a smooth random displacement whose root mean square is ``amount``."""
    frequency = torch.from_numpy(generator.normal(0, 3.0, (8, 3))).float()
    phase = torch.from_numpy(generator.uniform(0, 2 * math.pi, 8)).float()
    direction = torch.from_numpy(generator.normal(0, 1, (8, 3))).float()
    waves = torch.sin(mesh.vertices @ frequency.T + phase) @ direction
    return mesh.with_vertices(mesh.vertices + amount * waves / waves.square().sum(1).mean().sqrt())


def measure(mesh: Mesh, case: SearchCase, options: Options, seed: int) -> SearchCase:
    """Search one camera; returns the case with its errors, times and score filled in."""
    generator = np.random.default_rng([options.seed, seed])
    light = torch.nn.functional.normalize(torch.from_numpy(generator.normal(0, 1, 3) - [0, 1, 1]), dim=0)
    size = options.picture
    frame = render_frame(mesh, case.truth, size, options.shading, light)
    warped_mesh = warped(mesh, options.warp, generator)
    start, processor = time.perf_counter(), time.process_time()
    result = find_camera(warped_mesh, frame, FAST.search, torch.Generator().manual_seed(seed))
    case.seconds, case.processor = time.perf_counter() - start, time.process_time() - processor
    cameras = Orbit.from_parameters(torch.cat([case.truth.parameters(), result.orbit.parameters()])).camera()
    rotation = cameras.extrinsics[:, :3, :3].double()
    case.degrees = math.degrees(float(angles_between(rotation[0], rotation[1])))
    with torch.no_grad():
        masks = render_mesh(mesh, cameras, size, channels=("mask",)).mask.permute(0, 3, 1, 2)
    case.iou = float(intersection_over_union(masks[:1], masks[1:]))
    case.score, case.history = result.score, result.history
    return case


def main() -> None:
    """Run the benchmark and print a line for each case and a summary for each mesh."""
    options = parse_options(Options)
    logging.basicConfig(level=logging.WARNING)
    files = options.mesh or (DATA / "existing" / "chili.glb", DATA / "animated" / "Fox.glb")
    cases: list[SearchCase] = []
    for file in files:
        mesh = read_any_mesh(file)
        mesh = mesh.transformed(mesh.normalizing())
        generator = np.random.default_rng(options.seed)
        own = [SearchCase(file.stem, random_orbit(generator), options.warp > 0) for _ in range(options.count)]
        measure(mesh, SearchCase(file.stem, own[0].truth), options, 0)  # compiles the kernels
        print("      case    yaw  pitch radius   error    IoU      s  cpu s  score")
        for number, case in enumerate(own):
            measure(mesh, case, options, number)
            yaw, pitch = math.degrees(float(case.truth.yaw)), math.degrees(float(case.truth.pitch))
            print(
                f"{case.name + ' ' + str(number):>10} {yaw:6.0f} {pitch:6.0f} {float(case.truth.radius):6.2f} "
                f"{case.degrees:7.2f} {case.iou:6.3f} {case.seconds:6.2f} {case.processor:6.2f} {case.score:6.3f}"
                f"{'' if case.is_correct else '  wrong'}",
                flush=True,
            )
        cases += own
        summarize(own)
    if len(files) > 1:
        summarize(cases)


def summarize(cases: list[SearchCase]) -> None:
    """Print the number of correct cameras, and medians and maxima of errors and times."""
    name = " + ".join(dict.fromkeys(case.name for case in cases))
    degrees = [case.degrees for case in cases]
    print(
        f"{name}: {sum(case.is_correct for case in cases)} of {len(cases)} correct; rotation error median "
        f"{statistics.median(degrees):.2f}, worst {max(degrees):.1f} degrees; IoU median "
        f"{statistics.median(case.iou for case in cases):.3f}; seconds median "
        f"{statistics.median(case.seconds for case in cases):.2f}, longest {max(case.seconds for case in cases):.2f} "
        f"(processor {statistics.median(case.processor for case in cases):.2f})"
    )


if __name__ == "__main__":
    end_with(main)
