"""Which stage loses most: run the stages with the truth in place of what one of them would have found.

    python -m evaluation.ablation --truth examples/ground_truth/walking_dino.npz --frames examples/walking_dino \
        --given meshes --output results_ablation

What ``--given`` puts in place of a stage's result:

- ``none``: nothing; all stages run as in main.py.
- ``depth``: Inflate's meshes, each under the camera that it knows itself, at the truth's depth (stage 2 made perfect).
- ``meshes``: the true mesh of every key frame under the true camera, each reduced to ``--max_faces`` and shuffled for
  itself, so that registration meets unrelated meshes (stages 1 and 2 made perfect).
- ``first_mesh``: the same for the one key frame whose mesh is moved; the others keep Inflate's, at the truth's depth.
  With ``--motion video`` the first frame's true mesh under the true camera is all that is given; the video moves it.
- ``poses``: the true poses at the key frames (stages 1 to 3 made perfect): what is left is lost between key frames.

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

import fast_simplification
import numpy as np
import torch
from torch import Tensor

import camera_search
import generators
import registration
import texture
from camera_search.stage import pose_asset, surface_center
from evaluation.geometry_metrics import F_THRESHOLD, motion80
from evaluation.surface_points import (
    Distances,
    SurfacePoints,
    bounding_box,
    draw,
    nearest,
    positions,
    sample,
    surface_vertices,
)
from registration.keyframes.stage import longest_outline
from v2m4 import preflight
from v2m4.camera import DEFAULT_FOV
from v2m4.config import Config, parse
from v2m4.contact_sheet import draw_contact_sheet
from v2m4.export import ANIMATION, CAMERAS, export_animation, read_cameras
from v2m4.frame import Clip
from v2m4.ground_truth import GroundTruth
from v2m4.io.gltf_animation import read_animation
from v2m4.io.video import find_animations, read_clip
from v2m4.keyframes import choose_key_frames
from v2m4.mesh import Asset, Mesh, MeshSequence, PosedAsset
from v2m4.report import table
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace, atomic, digest

log = logging.getLogger("evaluation")

Given = Literal["none", "depth", "meshes", "first_mesh", "poses"]
SCORES = "ablation.json"
BINDING_POINTS = 400_000  # of the truth's surface, the nearest of which is where a vertex of a reduced mesh belongs


class UsageError(Exception):
    """The command asks for something that cannot be done; exit code 2."""


@dataclass(frozen=True)
class Truth:
    """The truth as the video's camera sees it.

    Attributes:
        sequence: (T, V, 3) in camera space, times are frame numbers.
        extrinsics: (4, 4), the truth's world to camera space.
        fov: vertical field of view of its camera, radians.
    """

    sequence: MeshSequence
    extrinsics: Tensor
    fov: float = DEFAULT_FOV

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read a ground truth.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no ground truth.
        """
        stored = GroundTruth.load(path)
        extrinsics = stored.orbit().camera().extrinsics[0]
        sequence = stored.sequence()
        seen = sequence.vertices @ extrinsics[:3, :3].T + extrinsics[:3, 3]
        mesh = sequence.mesh.with_vertices(seen[0])
        return cls(MeshSequence(seen, mesh, np.arange(len(seen), dtype=np.float64)), extrinsics, float(stored.fov))

    def given_mesh(self, frame: int, config: Config) -> tuple[Mesh, SurfacePoints]:
        """The frame's mesh as a generator would hand it over, and each vertex's place on the truth's topology.

        No more than ``max_faces`` faces (reduced for this frame alone), vertices and faces in an order of its own.
        """
        mesh = self.sequence[frame]
        vertices, faces = mesh.vertices, mesh.faces
        places = SurfacePoints(np.arange(len(vertices))[:, None], np.ones((len(vertices), 1)))
        if len(faces) > config.max_faces:
            points, corners = fast_simplification.simplify(
                vertices.numpy(), faces.numpy().astype(np.int32), target_count=config.max_faces
            )
            vertices, faces = torch.from_numpy(points).float(), torch.from_numpy(corners.astype(np.int64))
            dense = draw(mesh, BINDING_POINTS, np.random.default_rng(0))
            _, found = nearest(points, dense.on(positions(mesh)))
            places = SurfacePoints(dense.corners[found], dense.weights[found])
        order, turns = (self._permutation(count, frame, config.seed) for count in (len(vertices), len(faces)))
        places = SurfacePoints(places.corners[order], places.weights[order])
        colors = None if mesh.colors is None else torch.from_numpy(places.on(mesh.colors.numpy())).float()
        return Mesh(vertices[order], torch.argsort(order)[faces][turns], colors=colors), places

    def _permutation(self, count: int, frame: int, seed: int) -> Tensor:
        """A permutation (count,) that follows from the frame and the seed."""
        generator = torch.Generator().manual_seed(int(digest("order", seed, frame, count)[:12], 16))
        return torch.randperm(count, generator=generator)

    def posed(self, frame: int, config: Config) -> PosedAsset:
        """The frame's mesh under the true camera."""
        return PosedAsset(self.given_mesh(frame, config)[0], self.extrinsics, 1.0, 1.0)

    def depth(self, frame: int) -> float:
        """How far from the camera the middle of the frame's surface is."""
        return float(surface_center(self.sequence[frame])[2])


def moved_to_depth(posed: PosedAsset, depth: float) -> PosedAsset:
    """The asset scaled about the camera's centre until the middle of its surface lies at ``depth``."""
    factor = depth / float(surface_center(posed.mesh)[2])
    return replace(posed, mesh=posed.mesh.with_vertices(posed.mesh.vertices * factor), scale=posed.scale * factor)


def posed_by_hint(asset: Asset, depth: float) -> PosedAsset:
    """An asset under the camera that its generator knows, at a depth.

    Raises:
        ValueError: the generator knows none.
    """
    if asset.hint is None:
        raise ValueError("--given depth: this generator knows no camera of its own; use --model Inflate")
    return moved_to_depth(pose_asset(asset.mesh, asset.hint.camera().extrinsics[0], 1.0, 1.0), depth)


@dataclass(frozen=True)
class Registered:
    """What stage 3, or the truth in its place, hands on.

    Attributes:
        sequence: poses in camera space, times are frame numbers.
        asset: the mesh that the texture stage sees from all sides.
        extrinsics: (4, 4) of the first key frame.
        places: of its vertices on the truth's topology; None where no true mesh moves.
    """

    sequence: MeshSequence
    asset: Mesh
    extrinsics: Tensor
    places: SurfacePoints | None = None


def register(
    clip: Clip, keys: list[int], truth: Truth, given: Given, workspace: Workspace, config: Config
) -> Registered:
    """Stages 1 to 3, some of them replaced by the truth."""
    if given == "poses":
        known = truth.sequence
        sequence = MeshSequence(
            known.vertices[keys], known.mesh.with_vertices(known.vertices[keys[0]]), known.times[keys]
        )
        every = np.arange(known.vertices.shape[1])[:, None]
        return Registered(sequence, sequence[0], truth.extrinsics, SurfacePoints(every, np.ones(every.shape)))
    if config.motion == "video":
        posed, places = [truth.posed(0, config)], truth.given_mesh(0, config)[1]
        with workspace.stage("registration"):
            sequence = registration.track_video(clip.frames, posed[0], workspace, config)
        return Registered(sequence, posed[0].mesh, truth.extrinsics, places)
    key_frames = [clip.frames[index] for index in keys]
    moved = 0 if config.registration.reference == "first" else longest_outline(key_frames)
    places = truth.given_mesh(keys[moved], config)[1]
    if given == "meshes":
        posed = [truth.posed(index, config) for index in keys]
    else:
        with workspace.stage("generation"):
            assets = generators.run(key_frames, workspace, config)
        with workspace.stage("camera_search"):
            if given == "depth":
                posed = [posed_by_hint(asset, truth.depth(index)) for asset, index in zip(assets, keys, strict=True)]
            else:
                posed = camera_search.run(key_frames, assets, workspace, config)
        if given == "first_mesh":
            posed = [moved_to_depth(asset, truth.depth(keys[moved])) for asset in posed]
            posed[moved] = truth.posed(keys[moved], config)
    with workspace.stage("registration"):
        sequence = registration.run(clip.frames, keys, posed, workspace, config)
    true_moves = given in ("meshes", "first_mesh")
    return Registered(sequence, posed[0].mesh, posed[0].extrinsics, places if true_moves else None)


def reconstruct(clip: Clip, truth: Truth, given: Given, textured: bool, config: Config) -> tuple[Workspace, Registered]:
    """All stages, and the files that main.py leaves."""
    workspace = Workspace(config.output / clip.name, config.overwrite)
    keys = choose_key_frames(clip, config.skip) if config.key_frames == "motion" else clip.key_indices(config.skip)
    workspace.manifest |= {
        "config": config.describe(),
        "given": given,
        "fps": clip.fps,
        "key_frames": [clip.frames[index].name for index in keys],
    }
    found = register(clip, keys, truth, given, workspace, config)
    sequence, whole = found.sequence, found.sequence.sampled(range(len(clip.frames)))
    if textured:
        with workspace.stage("texture"):
            mesh = texture.run(clip.frames, whole, found.asset, workspace, config)
        sequence, whole = replace(sequence, mesh=mesh), replace(whole, mesh=mesh)
    with workspace.stage("export"):
        export_animation(
            workspace,
            sequence,
            [frame.name for frame in clip.frames],
            range(len(clip.frames)),
            found.extrinsics,
            fov=clip.fov,
            aspect=clip.frames[0].aspect,
            fps=clip.fps,
        )
        draw_contact_sheet(workspace, whole, found.extrinsics)
    return workspace, found


@dataclass(frozen=True)
class Scores:
    """How far a result is from the truth, means over all frames.

    Attributes:
        cd: CD of protocol ``motion80``.
        f_score: its F-score at 0.02.
        cd_direct: the same distance in the truth's own frame: through the true camera, with no alignment.
        f_score_direct: the same for the F-score.
        trajectory: mean distance of surface points from where they truly are, in percent of the truth's longest side in
            the first frame, with no alignment; None where the topology is not the truth's.
    """

    cd: float
    f_score: float
    cd_direct: float
    f_score_direct: float
    trajectory: float | None


def read_poses(folder: Path) -> MeshSequence:
    """A result's animation at the times of its frames, in the space of the video's camera; times are frame numbers."""
    recorded = read_cameras(folder / CAMERAS)
    times = np.arange(len(recorded.names), dtype=np.float64)
    sequence = read_animation(folder / ANIMATION, times=times / recorded.fps)
    matrix = recorded.cameras.extrinsics[0]
    seen = sequence.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return MeshSequence(seen, sequence.mesh.with_vertices(seen[0]), times)


def score(found: MeshSequence, truth: MeshSequence, places: SurfacePoints | None, points: int) -> Scores:
    """Compare two sequences of as many frames in one space.

    Args:
        found: the result; its first V vertices are those of the stages, repeated ones at texture seams follow.
        truth: the truth.
        places: of the V vertices on the truth's topology, None where they have none.
        points: samples of either surface.
    """
    true_meshes, meshes = [truth[index] for index in range(len(truth))], [found[index] for index in range(len(found))]
    aligned = motion80(true_meshes, meshes, points)
    middle, side = bounding_box(surface_vertices(truth[0]))
    generator = np.random.default_rng(0)
    direct = []
    for true_mesh, mesh in zip(true_meshes, meshes, strict=True):
        pair = [2 / side * (sample(part, points, generator) - middle) for part in (true_mesh, mesh)]
        direct.append(Distances.between(*pair))
    trajectory = None
    if places is not None:
        theirs = places.on(truth.vertices.double().numpy())
        ours = found.vertices[:, : theirs.shape[1]].double().numpy()
        at = draw(Mesh(torch.from_numpy(theirs[0]).float(), found.mesh.faces), points, generator)
        trajectory = 100 / side * float(np.linalg.norm(at.on(ours) - at.on(theirs), axis=-1).mean())
    return Scores(
        aligned.cd,
        aligned.f_score,
        float(np.mean([frame.chamfer() for frame in direct])),
        float(np.mean([frame.f_score(F_THRESHOLD) for frame in direct])),
        trajectory,
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """One animation, ablated and scored; returns the exit code."""
    if config.motion == "video" and options.given != "first_mesh":
        raise UsageError(f"--given {options.given}: --motion video goes with --given first_mesh only")
    truth = Truth.load(options.truth)
    (source,) = find_animations(options.frames)
    config = replace(config, fov=math.degrees(truth.fov))
    clip = read_clip(source, config.frames)
    clip = replace(clip, frames=[replace(frame, fov=truth.fov) for frame in clip.frames])
    if len(clip.frames) != len(truth.sequence):
        raise UsageError(f"{options.frames}: {len(clip.frames)} frames, but {options.truth} has {len(truth.sequence)}")
    start = time.perf_counter()
    workspace, registered = reconstruct(clip, truth, options.given, options.textured, config)
    seconds = time.perf_counter() - start
    scores = score(read_poses(workspace.root), truth.sequence, registered.places, options.points)
    stored = {"given": options.given, "seconds": round(seconds, 1), **asdict(scores)}
    with atomic(workspace.path(SCORES)) as temporary:
        temporary.write_text(json.dumps(stored, indent=1), "utf-8")
    cells = [clip.name, options.given, f"{scores.cd:.4f}", f"{scores.f_score:.3f}"]
    cells += [f"{scores.cd_direct:.4f}", f"{scores.f_score_direct:.3f}"]
    cells += ["-" if scores.trajectory is None else f"{scores.trajectory:.2f}", f"{seconds:.0f}"]
    print(table([cells], ["animation", "given", "CD", "F-score", "CD direct", "F direct", "trajectory %", "seconds"]))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well, 2 on bad usage."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--truth", type=Path, required=True, help="the true animation (.npz)")
    parser.add_argument("--frames", type=Path, required=True, help="the folder of its pictures")
    parser.add_argument("--given", choices=get_args(Given), required=True, help="what the truth replaces")
    parser.add_argument("--output", type=Path, required=True, help="the result goes to OUTPUT/<name of the frames>")
    parser.add_argument("--points", type=int, default=50_000, help="samples of a surface (default: 50000)")
    parser.add_argument("--textured", action="store_true", help="run stage 4, too (it changes no score)")
    options, others = parser.parse_known_args(given)
    config = parse(["--output", str(options.output), *others])
    logging.basicConfig(level=logging.DEBUG if config.verbose else logging.INFO, format="%(levelname).1s %(message)s")
    for noisy in ("numba", "PIL", "matplotlib", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return run(options, preflight.resolve(config))
    except (UsageError, Unavailable, FileNotFoundError, NotADirectoryError, ValueError) as error:
        log.error("%s", error, exc_info=config.verbose)
        return 2


if __name__ == "__main__":
    sys.exit(main())
