"""Make ``examples/``: animations modelled, painted, moved and rendered by this repository, with the true meshes.

    python data_preparation_tools/make_examples.py --output examples --seed 0

Every animation becomes a folder of RGBA pictures, <output>/<name>/0000.png and so on, and one file
<output>/ground_truth/<name>.npz that holds the mesh of every frame and the camera (see ``GroundTruth``).
The same options give the same bytes on the same machine.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_preparation_tools.creatures import CREATURES, Model, sculpt
from v2m4.camera import DEFAULT_FOV, Orbit, framing
from v2m4.geometry import vertex_normals
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.render import antialias, interpolate, rasterize
from v2m4.workspace import atomic

log = logging.getLogger("make_examples")

SUPERSAMPLING = 3

SKY, GROUND = (0.52, 0.56, 0.62), (0.34, 0.30, 0.28)
LIGHTS = (  # direction to the light seen from the camera (x right, y up, z back), colour, how far it wraps round
    ((-0.55, 0.75, 0.65), (0.74, 0.70, 0.64), 0.25),
    ((0.85, 0.20, 0.45), (0.15, 0.18, 0.24), 0.35),
)


@dataclass(frozen=True)
class Options:
    """Make the example animations and their ground truth."""

    # Folder for the animations; pictures and truths that are already there are overwritten.
    output: Path = Path("examples")
    # Draws what is left to chance in the paint (spots, bubbles).
    seed: int = 0
    # Frames of one loop (default: each creature's own).
    frames: int | None = None
    # Width and height of the pictures, pixels.
    size: int = 512
    # Triangles of each mesh, about.
    faces: int = 9500
    # Frames per second that the truth notes; the loops are made for this pace.
    fps: float = 24.0
    # Only the animations whose name contains this.
    only: str = ""


def quantised(model: Model, view: tuple[float, float, float], fps: float) -> GroundTruth:
    """The truth of a model, its camera placed so that the whole motion fills the asked share of the picture.

    Args:
        model: what was sculpted.
        view: yaw and pitch in degrees, and the share of the picture's side that the motion spans.
        fps: frames per second.
    """
    return GroundTruth.of(
        model.poses,
        model.faces,
        model.paint(model.rest),
        framing(torch.from_numpy(model.poses).float(), *view),
        DEFAULT_FOV,
        fps,
    )


def shade(colors: Tensor, normals: Tensor, occlusion: Tensor, orbit: Orbit) -> Tensor:
    """Two soft lights and a sky, all fixed in the world (placed as the video's camera sees them).

    Args:
        colors: (..., 3) paint, sRGB.
        normals: (..., 3) world normals of any length.
        occlusion: (..., 1) open share of the sky.
        orbit: the video's camera.

    Returns:
        (..., 3) sRGB.
    """
    normals = torch.nn.functional.normalize(normals, dim=-1)
    rotation = orbit.camera().extrinsics[0, :3, :3] * torch.tensor([1.0, -1.0, -1.0])[:, None]  # world to x, up, back
    up = 0.5 + 0.5 * normals[..., 1:2]
    light = occlusion * (up * torch.tensor(SKY) + (1 - up) * torch.tensor(GROUND))
    for direction, color, wrap in LIGHTS:
        towards = torch.nn.functional.normalize(torch.tensor(direction), dim=0) @ rotation
        facing = (((normals * towards).sum(-1, keepdim=True) + wrap) / (1 + wrap)).clamp_min(0)
        light = light + (0.5 + 0.5 * occlusion) * facing * torch.tensor(color)
    return torch.from_numpy(linear_to_srgb(srgb_to_linear(colors.numpy()) * light.numpy()))


def draw(model: Model, truth: GroundTruth, size: int) -> list[np.ndarray]:
    """Every frame as (size, size, 4) uint8, straight alpha, zero where nothing is.

    The paint is a function of the rest pose's surface, so it is looked up at every sample, not at the vertices.
    """
    orbit, faces = truth.orbit(), torch.from_numpy(truth.faces)
    camera, large = orbit.camera(float(truth.fov)), (size * SUPERSAMPLING,) * 2
    fixed = torch.from_numpy(np.concatenate([model.rest, model.occlusion[:, None]], 1)).float()
    pictures = []
    for vertices in tqdm(truth.positions(), desc="frames", leave=False):
        clip = camera.clip(vertices)
        triangles = rasterize(clip, faces, large)
        values = interpolate(torch.cat([fixed, vertex_normals(vertices, faces)], 1)[None], triangles, faces)
        inside = triangles[..., 3] > 0
        rest, occlusion, normals = values[inside].split([3, 1, 3], -1)
        paint = torch.from_numpy(model.paint(rest.numpy())).float()
        picture = torch.zeros(1, *large, 4)
        picture[inside] = torch.cat([shade(paint, normals, occlusion, orbit), torch.ones(len(paint), 1)], 1)
        picture = antialias(picture, triangles, clip, faces)[0]
        picture = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 4).mean((1, 3))
        alpha = picture[..., 3:].clamp(0, 1)
        color = torch.where(alpha > 0.5 / 255, picture[..., :3] / alpha.clamp_min(1e-6), torch.zeros(3))
        pictures.append((torch.cat([color, alpha], -1).clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return pictures


def make(name: str, options: Options) -> None:
    """Write the pictures and the truth of one animation."""
    creature = CREATURES[name]
    frames = options.frames or creature.frames
    model = sculpt(creature, frames, options.faces, options.seed)
    truth = quantised(model, creature.view, options.fps)
    log.info("%s: %d vertices, %d faces, %d frames", name, len(model.rest), len(model.faces), frames)
    for index, picture in enumerate(draw(model, truth, options.size)):
        with atomic(options.output / name / f"{index:04d}.png") as temporary:
            Image.fromarray(picture).save(temporary, optimize=True)
    truth.save(options.output / TRUTH_FOLDER / f"{name}.npz")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = tyro.cli(Options, args=arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = [name for name in CREATURES if options.only in name]
    if not names:
        log.error("--only %s: no such animation; choose from %s", options.only, ", ".join(CREATURES))
        return 2
    for name in names:
        make(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
