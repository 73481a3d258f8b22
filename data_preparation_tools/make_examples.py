"""Make ``examples/``: animations modelled, painted, moved and rendered by this repository, with the true meshes.

    python data_preparation_tools/make_examples.py --output examples --seed 0

Every animation becomes a folder of RGBA pictures, <output>/<name>/0000.png and so on, and one file
<output>/ground_truth/<name>.npz that holds the mesh of every frame and the camera (see ``GroundTruth``).
The same options give the same bytes on the same machine.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_preparation_tools.creatures import CREATURES, SculptedCreature, sculpt
from data_preparation_tools.frame_files import save_frame
from v2m4.camera import DEFAULT_FOV, framing
from v2m4.command_line import end_with, parse_options
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.lit_frames import render_frames
from v2m4.render import interpolate

log = logging.getLogger("make_examples")


@dataclass(frozen=True)
class ExampleOptions:
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


def ground_truth_of(model: SculptedCreature, view: tuple[float, float, float], fps: float) -> GroundTruth:
    """The ground truth of a model, its camera placed such that the motion spans a fraction of the picture.

    Args:
        model: what was sculpted.
        view: yaw and pitch in degrees, and the fraction of the picture's side that the motion spans.
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


def draw_model(model: SculptedCreature, truth: GroundTruth, size: int) -> Iterator[np.ndarray]:
    """Render every frame as (size, size, 4) uint8; colours are a function of the rest pose's surface."""
    faces = torch.from_numpy(truth.faces)
    fixed = torch.from_numpy(np.concatenate([model.rest, model.occlusion[:, None]], 1)).float()

    def paint(triangles: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        rest, occlusion = interpolate(fixed[None], triangles, faces)[inside].split([3, 1], -1)
        return torch.from_numpy(model.paint(rest.numpy())).float(), occlusion

    return render_frames(truth.positions(), faces, paint, truth.orbit(), size, float(truth.fov))


def make(name: str, options: ExampleOptions) -> None:
    """Write the pictures and the truth of one animation."""
    creature = CREATURES[name]
    frames = options.frames or creature.frames
    model = sculpt(creature, frames, options.faces, options.seed)
    truth = ground_truth_of(model, creature.view, options.fps)
    log.info("%s: %d vertices, %d faces, %d frames", name, len(model.rest), len(model.faces), frames)
    for index, picture in enumerate(draw_model(model, truth, options.size)):
        save_frame(picture, options.output / name, index)
    truth.save(options.output / TRUTH_FOLDER / f"{name}.npz")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse_options(ExampleOptions, arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = [name for name in CREATURES if options.only in name]
    if not names:
        log.error("--only %s: no such animation; choose from %s", options.only, ", ".join(CREATURES))
        return 2
    for name in names:
        make(name, options)
    return 0


if __name__ == "__main__":
    end_with(main)
