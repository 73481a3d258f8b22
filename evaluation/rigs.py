"""Measure rigs: ``python -m evaluation.rigs DATA/animated/Fox.glb results/*/output_animation.glb --bones 24``.

Each clip of each file is evaluated at evenly spaced frames, a rig is fitted to these poses (``v2m4.skinning``), and the
poses are written with morph targets and with the rig. The table tells how far the skinned vertices are from the poses
and how the two files compare in size.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from v2m4 import threads
from v2m4.command_line import end_with, parse_options
from v2m4.io.gltf import smallest_encoding, write_animation_glb, write_rigged_glb
from v2m4.io.gltf_animation import Animation, list_animations, read_animation
from v2m4.mesh import MeshSequence
from v2m4.report import table
from v2m4.skinning.rig import fit_rig

HEADERS = [
    "file",
    "clip",
    "vertices",
    "frames",
    "bones",
    "rms %",
    "largest %",
    "keys",
    "seconds",
    "morph kB",
    "rigged kB",
]


@dataclass(frozen=True)
class Options:
    """Fit rigs to animations and measure them."""

    # Animated .glb or .gltf files.
    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    # Bones, at most.
    bones: int = 32
    # Frames of each clip; 0 takes those of its keys.
    frames: int = 90
    # Name of the only clip to measure; all without it.
    clip: str | None = None
    # Largest error of a vertex for keys left out, relative to the object's longest side.
    tolerance: float = 0.001
    # Number of threads; 0 for all cores.
    threads: int = 0


def read_clip(path: Path, clip: Animation, frames: int) -> MeshSequence:
    """A clip at evenly spaced times (or those of its keys), welded, its time from 0."""
    times = np.linspace(clip.start, clip.stop, frames) if frames else clip.key_times
    sequence = read_animation(path, clip.name, times, weld=True)
    return replace(sequence, times=times - times[0])


def measure(path: Path, clip: Animation, options: Options) -> list[object]:
    """One row of the table."""
    sequence = read_clip(path, clip, options.frames)
    start = time.perf_counter()
    rig = fit_rig(sequence, options.bones, options.tolerance)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        morph, rigged = Path(folder) / "morph.glb", Path(folder) / "rigged.glb"
        texture = sequence.mesh.texture
        write_animation_glb(morph, sequence)
        encoded = None if texture is None else smallest_encoding(texture)
        write_rigged_glb(rigged, sequence.mesh, rig, float(sequence.times[-1]), texture=encoded)
        sizes = [f"{file.stat().st_size / 1000:.0f}" for file in (morph, rigged)]
    keys = sum(len(curve.times) for curve in rig.curves)
    figures = [f"{100 * rig.rms:.3f}", f"{100 * rig.largest:.2f}", keys, f"{seconds:.1f}"]
    name = path.name if path.parent.name in ("", ".") else f"{path.parent.name}/{path.name}"
    return [name, clip.name, len(sequence.mesh.vertices), len(sequence), len(rig.skeleton), *figures, *sizes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 2 where a file cannot be used."""
    options = parse_options(Options, arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname).1s %(message)s")
    threads.use(options.threads)
    rows = []
    try:
        for path in options.files:
            clips = [clip for clip in list_animations(path) if options.clip in (None, clip.name)]
            if not clips:
                raise ValueError(f"{path}: no clip {options.clip!r}" if options.clip else f"{path}: no animation")
            rows += [measure(path, clip, options) for clip in clips]
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows, HEADERS))
    return 0


if __name__ == "__main__":
    end_with(main)
