"""How time, memory and disk of a run grow with the number of frames and of faces.

    python -m evaluation.scaling --output FOLDER [--frames 32 128 512] [--faces 2000 10000 40000 100000]

Frames: an example, played forwards and backwards to each length, through main.py with its default options. Faces: the
example's true mesh, subdivided, as a user mesh that is tracked at full resolution (``--mesh``, ``--max_faces``). Every
run is a process of its own with nothing cached but compiled kernels. Prints two tables, and writes ``scaling.json``.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trimesh
import tyro

from evaluation.processes import Processes
from evaluation.tables import markdown_table
from v2m4.command_line import end_with, parse_options
from v2m4.ground_truth import GroundTruth
from v2m4.io.folder import list_pictures
from v2m4.workspace import MANIFEST

log = logging.getLogger("evaluation")
CODE = Path(__file__).resolve().parent.parent


@dataclass
class Options:
    """Measure how a run grows with frames and faces."""

    # Folder of inputs, results, and scaling.json.
    output: Path
    # Numbers of frames; none leaves the first table out.
    frames: list[int] = field(default_factory=lambda: [32, 128, 512])
    # Numbers of faces; none leaves the second table out.
    faces: list[int] = field(default_factory=lambda: [2000, 10000, 40000, 100000])
    # Folder of frames that the inputs are made of, with examples/ground_truth/<name>.npz for the mesh.
    clip: Path = CODE / "examples" / "walking_dino"
    # Frames of the runs of the second table.
    mesh_frames: int = 8
    # Further options of main.py, after --.
    rest: tyro.conf.Positional[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Run:
    """Resources of one run.

    Attributes:
        size: frames or faces.
        seconds: wall time.
        memory_mib: peak resident memory.
        disk_mib: of the animation's folder.
        stages: seconds by stage.
    """

    size: int
    seconds: float
    memory_mib: float
    disk_mib: float
    stages: dict[str, float]


def exponent(runs: Sequence[Run], stage: str | None = None) -> float:
    """Slope of the logarithm of the seconds over that of the size, from the least to the largest: 1 is linear."""
    first, last = runs[0], runs[-1]
    values = [run.seconds if stage is None else run.stages.get(stage, 0.0) for run in (first, last)]
    if min(values) <= 0 or first.size == last.size:
        return math.nan
    return math.log(values[1] / values[0]) / math.log(last.size / first.size)


def table(runs: Sequence[Run], what: str) -> str:
    """Lines of text: a row a run, and the exponents of the time."""
    stages = list(dict.fromkeys(stage for run in runs for stage in run.stages))
    head = [what, "seconds", "peak memory, MiB", "disk, MiB", *stages]
    rows = [
        [str(run.size), f"{run.seconds:.1f}", f"{run.memory_mib:.0f}", f"{run.disk_mib:.0f}"]
        + [f"{run.stages.get(stage, 0.0):.1f}" for stage in stages]
        for run in runs
    ]
    slopes = ["exponent", f"{exponent(runs):.2f}", "", "", *(f"{exponent(runs, stage):.2f}" for stage in stages)]
    return "\n".join(markdown_table(head, [*rows, slopes]))


def back_and_forth(clip: Path, folder: Path, count: int) -> Path:
    """A folder of ``count`` frames: those of a clip, forwards and backwards in turn."""
    pictures = list_pictures(clip)
    period = max(2 * (len(pictures) - 1), 1)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        place = number % period
        picture = pictures[place if place < len(pictures) else period - place]
        shutil.copyfile(picture, folder / f"{number:05d}{picture.suffix}")
    return folder


def write_dense_mesh(truth: GroundTruth, count: int, path: Path) -> None:
    """Write the first pose of a ground truth as GLB, subdivided until it has at least ``count`` faces."""
    vertices = truth.vertices[0] * truth.step + truth.origin
    mesh = trimesh.Trimesh(vertices, truth.faces, vertex_colors=truth.colors, process=False)
    while len(mesh.faces) < count:
        mesh = mesh.subdivide()
    mesh.export(path)


def measured(name: str, size: int, options: Options, arguments: list[str], processes: Processes) -> Run:
    """Run main.py on an animation.

    Raises:
        ProcessFailed: it failed; the message is its last line of error.
    """
    results = options.output / "results" / f"{name}_{size}"
    shutil.rmtree(results, ignore_errors=True)
    command = [sys.executable, str(CODE / "main.py"), *arguments, "--output", str(results), *options.rest]
    usage = processes.run(command, options.output / "log.txt", CODE)
    (manifest,) = results.glob(f"*/{MANIFEST}")
    stages = json.loads(manifest.read_text("utf-8"))["stages"]
    disk = sum(file.stat().st_size for file in results.rglob("*") if file.is_file()) / 2**20
    seconds = {stage: float(entry["seconds"]) for stage, entry in stages.items()}
    log.info("%s %d: %.1f s, %.0f MiB of memory, %.0f on disk", name, size, usage.seconds, usage.peak_memory_mib, disk)
    return Run(size, usage.seconds, usage.peak_memory_mib, disk, seconds)


def main() -> None:
    """Command line."""
    options = parse_options(Options, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.output.mkdir(parents=True, exist_ok=True)
    processes, inputs = Processes(), options.output / "inputs"
    by_frames, by_faces = [], []
    for count in options.frames:
        clip = back_and_forth(options.clip, inputs / f"frames_{count}", count)
        by_frames.append(measured("frames", count, options, ["--video", str(clip)], processes))
    if options.faces:
        truth = GroundTruth.load(options.clip.parent / "ground_truth" / f"{options.clip.name}.npz")
        clip = back_and_forth(options.clip, inputs / "mesh", options.mesh_frames)
        for count in options.faces:
            file = inputs / f"mesh_{count}.glb"
            write_dense_mesh(truth, count, file)
            arguments = ["--video", str(clip), "--mesh", str(file), "--max_faces", str(count)]
            by_faces.append(measured("faces", count, options, arguments, processes))
    for runs, what in ((by_frames, "frames"), (by_faces, "faces")):
        if runs:
            print(table(runs, what))
    plain = {"frames": [asdict(run) for run in by_frames], "faces": [asdict(run) for run in by_faces]}
    (options.output / "scaling.json").write_text(json.dumps(plain, indent=1), "utf-8")


if __name__ == "__main__":
    end_with(main)
