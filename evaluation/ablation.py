"""Ablation: run the stages with the ground truth in place of the result of one or more of them.

    python -m evaluation.ablation --truth examples/ground_truth/walking_dino.npz --frames examples/walking_dino \
        --given meshes --output results_ablation

What ``--given`` replaces:

- ``none``: nothing; all stages run as in main.py.
- ``depth``: stage 2: Inflate's meshes, each under its generator's camera, at the true depth.
- ``meshes``: stages 1 and 2: the true mesh of every key frame under the true camera, each decimated to ``--max_faces``
  and shuffled on its own, so that registration gets unrelated meshes.
- ``first_mesh``: the same for the one key frame whose mesh is deformed; the others keep Inflate's, at the true depth.
  With ``--motion video`` only the first frame's true mesh under the true camera is used; the video deforms it.
- ``poses``: stages 1 to 3: the true poses at the key frames; the remaining error is that of interpolation.

<output>/<animation of the folder> is laid out as main.py leaves it. The scores are printed and written there as
ablation.json; ``main.py``'s options may follow (``--skip 3 --registration.fine_steps 200``).
"""

from __future__ import annotations

import v2m4  # noqa: F401  # isort: skip  # before torch: sets how idle threads wait
import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

import camera_search
import generators
import registration
import texture
from evaluation.camera_space_truth import CameraSpaceTruth, moved_to_depth, posed_by_hint
from evaluation.geometry_metrics import F_THRESHOLD, motion80
from evaluation.surface_points import (
    BarycentricPoints,
    Distances,
    bounding_box,
    sample_positions,
    sample_surface,
    surface_vertices,
)
from registration.keyframes.stage import longest_outline
from v2m4 import preflight
from v2m4.command_line import OneLineParser, end_with
from v2m4.config import Config, parse
from v2m4.contact_sheet import draw_contact_sheet
from v2m4.export import ANIMATION, CAMERAS, export_animation, read_cameras
from v2m4.frame import Clip
from v2m4.io.gltf_animation import read_animation
from v2m4.io.read import read_clip
from v2m4.io.sources import find_animations
from v2m4.keyframes import choose_key_frames
from v2m4.mesh import Mesh, MeshSequence
from v2m4.report import table
from v2m4.weights import Unavailable
from v2m4.workspace import Redo, Workspace, atomic

log = logging.getLogger("evaluation")

ReplacedStages = Literal["none", "depth", "meshes", "first_mesh", "poses"]
SCORES = "ablation.json"


class AblationUsageError(Exception):
    """The command line is invalid; exit code 2."""


@dataclass(frozen=True)
class RegistrationResult:
    """The result of stage 3, or the truth in its place.

    Attributes:
        sequence: poses in camera space, times in frame numbers.
        asset: the mesh that the texture stage renders from all sides.
        extrinsics: (4, 4) of the first key frame.
        surface_points: the true surface point of each vertex; None where the mesh is not a true one.
    """

    sequence: MeshSequence
    asset: Mesh
    extrinsics: Tensor
    surface_points: BarycentricPoints | None = None


def register(
    clip: Clip, keys: list[int], truth: CameraSpaceTruth, replaced: ReplacedStages, workspace: Workspace, config: Config
) -> RegistrationResult:
    """Run stages 1 to 3, some of them replaced by the truth."""
    if replaced == "poses":
        true_sequence = truth.sequence
        sequence = MeshSequence(
            true_sequence.vertices[keys],
            true_sequence.mesh.with_vertices(true_sequence.vertices[keys[0]]),
            true_sequence.times[keys],
        )
        vertex_indices = np.arange(true_sequence.vertices.shape[1])[:, None]
        return RegistrationResult(
            sequence, sequence[0], truth.extrinsics, BarycentricPoints(vertex_indices, np.ones(vertex_indices.shape))
        )
    if config.motion == "video":
        posed, surface_points = [truth.posed(0, config)], truth.decimated_mesh(0, config)[1]
        with workspace.stage("registration"):
            sequence = registration.track_video(clip.frames, posed[0], workspace, config)
        return RegistrationResult(sequence, posed[0].mesh, truth.extrinsics, surface_points)
    key_frames = [clip.frames[index] for index in keys]
    moved = 0 if config.registration.reference == "first" else longest_outline(key_frames)
    surface_points = truth.decimated_mesh(keys[moved], config)[1]
    if replaced == "meshes":
        posed = [truth.posed(index, config) for index in keys]
    else:
        with workspace.stage("generation"):
            assets = generators.run(key_frames, workspace, config)
        with workspace.stage("camera_search"):
            if replaced == "depth":
                posed = [posed_by_hint(asset, truth.depth(index)) for asset, index in zip(assets, keys, strict=True)]
            else:
                posed = list(camera_search.run(key_frames, assets, workspace, config))
        if replaced == "first_mesh":
            posed = [moved_to_depth(asset, truth.depth(keys[moved])) for asset in posed]
            posed[moved] = truth.posed(keys[moved], config)
    with workspace.stage("registration"):
        sequence = registration.run(clip.frames, keys, posed, workspace, config)
    true_mesh_is_deformed = replaced in ("meshes", "first_mesh")
    return RegistrationResult(
        sequence, posed[0].mesh, posed[0].extrinsics, surface_points if true_mesh_is_deformed else None
    )


def reconstruct(
    clip: Clip, truth: CameraSpaceTruth, replaced: ReplacedStages, textured: bool, config: Config
) -> tuple[Workspace, RegistrationResult]:
    """Run all stages and write the files that main.py writes."""
    workspace = Workspace(config.output / clip.name, Redo("--overwrite") if config.overwrite else None)
    keys = choose_key_frames(clip, config.skip) if config.key_frames == "motion" else clip.key_indices(config.skip)
    workspace.manifest |= {
        "config": config.describe(),
        "given": replaced,
        "fps": clip.fps,
        "key_frames": [clip.frames[index].name for index in keys],
    }
    result = register(clip, keys, truth, replaced, workspace, config)
    sequence, whole = result.sequence, result.sequence.sampled(range(len(clip.frames)))
    if textured:
        with workspace.stage("texture"):
            mesh = texture.run(clip.frames, whole, result.asset, workspace, config)
        sequence, whole = replace(sequence, mesh=mesh), replace(whole, mesh=mesh)
    with workspace.stage("export"):
        export_animation(
            workspace,
            sequence,
            [frame.name for frame in clip.frames],
            range(len(clip.frames)),
            result.extrinsics,
            fov=clip.fov,
            aspect=clip.frames[0].aspect,
            fps=clip.fps,
            seconds=clip.seconds,
        )
        draw_contact_sheet(workspace, whole, result.extrinsics)
    workspace.finish()
    return workspace, result


@dataclass(frozen=True)
class AblationScores:
    """Distances of a result from the truth, means over all frames.

    Attributes:
        cd: CD of protocol ``motion80``.
        f_score: its F-score at 0.02.
        cd_direct: the same distance in the truth's world, through the true camera, without alignment.
        f_score_direct: the same for the F-score.
        trajectory: mean end-point error of surface points, in percent of the truth's longest side in the first frame,
            without alignment; None where the correspondence to the truth is unknown.
    """

    cd: float
    f_score: float
    cd_direct: float
    f_score_direct: float
    trajectory: float | None


def read_poses(folder: Path) -> MeshSequence:
    """A result's poses at its frames, in the space of the video's camera; times in frame numbers."""
    recorded = read_cameras(folder / CAMERAS)
    times = np.arange(len(recorded.names), dtype=np.float64)
    sequence = read_animation(folder / ANIMATION, times=recorded.times)
    matrix = recorded.cameras.extrinsics[0]
    camera_vertices = sequence.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return MeshSequence(camera_vertices, sequence.mesh.with_vertices(camera_vertices[0]), times)


def score(
    result: MeshSequence, truth: MeshSequence, surface_points: BarycentricPoints | None, points: int
) -> AblationScores:
    """Compare two sequences with equally many frames in one space.

    Args:
        result: the result; its first V vertices are those of the stages, duplicates at texture seams follow.
        truth: the truth.
        surface_points: the true surface points of the V vertices, None where unknown.
        points: samples of each surface.
    """
    true_meshes, meshes = [truth[index] for index in range(len(truth))], [result[index] for index in range(len(result))]
    aligned = motion80(true_meshes, meshes, points)
    centre, side = bounding_box(surface_vertices(truth[0]))
    generator = np.random.default_rng(0)
    direct = []
    for true_mesh, mesh in zip(true_meshes, meshes, strict=True):
        pair = [2 / side * (sample_positions(part, points, generator) - centre) for part in (true_mesh, mesh)]
        direct.append(Distances.between(*pair))
    trajectory = None
    if surface_points is not None:
        true_points = surface_points.interpolate(truth.vertices.double().numpy())
        result_points = result.vertices[:, : true_points.shape[1]].double().numpy()
        samples = sample_surface(Mesh(torch.from_numpy(true_points[0]).float(), result.mesh.faces), points, generator)
        trajectory = (
            100
            / side
            * float(
                np.linalg.norm(samples.interpolate(result_points) - samples.interpolate(true_points), axis=-1).mean()
            )
        )
    return AblationScores(
        aligned.cd,
        aligned.f_score,
        float(np.mean([frame.chamfer() for frame in direct])),
        float(np.mean([frame.f_score(F_THRESHOLD) for frame in direct])),
        trajectory,
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """Run and score one animation; returns the exit code.

    Raises:
        AblationUsageError: the options do not go together, or the frames are not those of the truth.
    """
    if config.motion == "video" and options.given != "first_mesh":
        raise AblationUsageError(f"--given {options.given}: --motion video goes with --given first_mesh only")
    truth = CameraSpaceTruth.load(options.truth)
    (source,) = find_animations(options.frames)
    config = replace(config, fov=math.degrees(truth.fov))
    clip = read_clip(source, config.frames)
    clip = replace(clip, frames=[replace(frame, fov=truth.fov) for frame in clip.frames])
    if len(clip.frames) != len(truth.sequence):
        raise AblationUsageError(
            f"{options.frames}: {len(clip.frames)} frames, but {options.truth} has {len(truth.sequence)}"
        )
    start = time.perf_counter()
    workspace, registered = reconstruct(clip, truth, options.given, options.textured, config)
    seconds = time.perf_counter() - start
    scores = score(read_poses(workspace.root), truth.sequence, registered.surface_points, options.points)
    stored = {"given": options.given, "seconds": round(seconds, 1), **asdict(scores)}
    with atomic(workspace.path(SCORES)) as temporary:
        temporary.write_text(json.dumps(stored, indent=1), "utf-8")
    cells = [clip.name, options.given, f"{scores.cd:.4f}", f"{scores.f_score:.3f}"]
    cells += [f"{scores.cd_direct:.4f}", f"{scores.f_score_direct:.3f}"]
    cells += ["-" if scores.trajectory is None else f"{scores.trajectory:.2f}", f"{seconds:.0f}"]
    print(table([cells], ["animation", "given", "CD", "F-score", "CD direct", "F direct", "trajectory %", "seconds"]))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 on success, 2 on bad usage."""
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    parser = OneLineParser(
        prog="python -m evaluation.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--truth", type=Path, required=True, help="the true animation (.npz)")
    parser.add_argument("--frames", type=Path, required=True, help="the folder of its pictures")
    parser.add_argument("--given", choices=get_args(ReplacedStages), required=True, help="what the truth replaces")
    parser.add_argument("--output", type=Path, required=True, help="the result goes to OUTPUT/<name of the frames>")
    parser.add_argument("--points", type=int, default=50_000, help="samples of a surface (default: 50000)")
    parser.add_argument("--textured", action="store_true", help="run stage 4, too (it changes no score)")
    options, others = parser.parse_known_args(command_line)
    config = parse(["--output", str(options.output), *others])
    logging.basicConfig(level=logging.DEBUG if config.verbose else logging.INFO, format="%(levelname).1s %(message)s")
    for noisy in ("numba", "PIL", "matplotlib", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return run(options, preflight.resolve(config))
    except (AblationUsageError, Unavailable, FileNotFoundError, NotADirectoryError, ValueError) as error:
        log.error("%s", error, exc_info=config.verbose)
        return 2


if __name__ == "__main__":
    end_with(main)
