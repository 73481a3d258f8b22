"""Camera search for a user mesh of unknown up axis and front.

The search covers upright cameras only, and generated meshes are upright; a user mesh may have any axis up. Of the 24
rotations of the cube, four at a time differ by a rotation about the new vertical, which the search over yaw covers
anyway. So six rotations are left, one for each axis that may point up. A coarse search with sampled cameras selects
those that get a full search; the roll of the best camera is refined, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from camera_search.comparison import RenderComparison
from camera_search.learned_parts import LearnedParts
from camera_search.pointmap import CameraProposer
from camera_search.refine import refine
from camera_search.sampling import hull_points, sample_views
from camera_search.search import find_camera
from camera_search.similarity import ImageAgreement, Similarity
from camera_search.stage import FOLDER, camera_entry, draw_posed, pose_asset, write_text
from v2m4.camera import Orbit, orbit_from_extrinsics
from v2m4.config import Config, SearchConfig
from v2m4.decimate import simplified
from v2m4.device import device_of
from v2m4.export import write_mesh_glb_in_world
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh, PosedAsset
from v2m4.preflight.camera_search import version
from v2m4.report import progress
from v2m4.rotation import cube_rotations
from v2m4.threads import torch_threads
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.camera_search")

FULL_SEARCHES = 3  # rotations, those of the best coarse scores, that get a full search
MAX_COARSE_DEFICIT = 0.15  # of similarity, below the best coarse score, up to which a rotation gets a full search
MIN_ROLL_GAIN = 0.002  # of similarity, by which a camera with roll must exceed the one without


@dataclass(frozen=True)
class UserMeshCamera:
    """Camera of a user mesh, and the similarities of the six rotations that were tried.

    Attributes:
        extrinsics: (4, 4) rigid, from the mesh in its own axes to the camera's space.
        score: similarity of the render with the frame, 1 for equal images.
        rotations: (6, 3, 3) of the mesh that were tried.
        coarse_scores: (6,) best similarity of the coarse search of each rotation, at low resolution.
        final_scores: (6,) similarity after the full search of each rotation, NaN where there was none.
    """

    extrinsics: Tensor
    score: float
    rotations: Tensor
    coarse_scores: Tensor
    final_scores: Tensor

    def arrays(self) -> Arrays:
        """All fields as arrays, to be written to disk."""
        tensors = {
            name: getattr(self, name).cpu().numpy()
            for name in ("extrinsics", "rotations", "coarse_scores", "final_scores")
        }
        return {**tensors, "score": np.float64(self.score)}


def pose_user_mesh(frame: Frame, asset: Asset, workspace: Workspace, config: Config) -> PosedAsset:
    """Stage 2 for a user mesh: the mesh in the camera's space of one frame.

    Args:
        frame: the first of the video, background removed.
        asset: the mesh in the unit cube, of any orientation, with a texture, vertex colours or neither.
        workspace: the animation's folder.
        config: all options; ``seed``, ``device``, ``search``, ``use_vggt`` and the weights' folders are used.

    Returns:
        The mesh in the video camera's space, with its own texture or colours; scale 1.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces.
        Unavailable: a learned part that the options name is missing.
    """
    device = device_of(config)
    log.info("camera search: renders, their scores and the refinement on %s; optical flow and PnP on cpu", device)
    arrays = asset.mesh.arrays()
    key = digest(
        "given",
        frame.rgba,
        frame.fov,
        frame.index,
        (config.seed, config.search.__dict__, config.use_vggt, version(config), code_version("camera_search")),
        *(arrays[name] for name in sorted(arrays)),
        *([] if asset.hint is None else [asset.hint.parameters().numpy()]),
    )

    def search() -> Arrays:
        parts, generator = (
            LearnedParts.load(config),
            torch.Generator().manual_seed(config.seed * 1_000_003 + frame.index),
        )
        mesh, hints = with_mean_color(asset.mesh, frame).to(device), [asset.hint] if asset.hint is not None else []
        result = find_user_mesh_camera(mesh, frame, config.search, generator, hints, parts.similarity, parts.proposers)
        return result.arrays()

    result = workspace.make_arrays(f"{FOLDER}/{frame.name}.npz", key, search)
    pose = pose_asset(asset.mesh, torch.from_numpy(result["extrinsics"]), 1.0, float(result["score"]))
    shown = progress(f"similarity {pose.score:.3f}")
    log.info("%s: similarity %.3f; %s", frame.name, pose.score, _summary(result), extra=shown)
    colored = with_mean_color(pose.mesh, frame)
    workspace.make_file(f"{FOLDER}/{frame.name}.png", key, partial(draw_posed, frame=frame, mesh=colored))
    write_mesh_glb_in_world(workspace, f"{frame.name}_re-canonicalization_sample.glb", pose.mesh, pose.extrinsics)
    orbit = orbit_from_extrinsics(pose.extrinsics[None], float(pose.mesh.vertices[:, 2].mean()))
    text = json.dumps([camera_entry(frame, pose, orbit)], indent=1)
    workspace.make_file(f"{FOLDER}/cameras.json", digest(text), partial(write_text, text=text))
    return pose


def find_user_mesh_camera(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit] = (),
    similarity: Similarity | None = None,
    proposers: Sequence[CameraProposer] | None = None,
) -> UserMeshCamera:
    """Camera from which the rendering of a mesh is most similar to a frame, for any up axis of the mesh.

    Args:
        mesh: with a texture or vertex colours.
        frame: background removed.
        config: sizes of the search, for each rotation.
        generator: CPU generator, source of all randomness.
        hints: cameras, for the mesh in its own axes, that may be right.
        similarity: as in ``find_camera``.
        proposers: as in ``find_camera``.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces or no colours.
    """
    if len(mesh.faces) == 0:
        raise ValueError(f"frame {frame.name}: the mesh to search a camera for has no faces")
    rotations = [torch.from_numpy(rotation).to(mesh.vertices) for rotation in upright_rotations()]
    proxy, fine = (simplified(mesh, faces) for faces in (config.proxy_faces, config.refine_faces))
    similarity = similarity or ImageAgreement()
    with torch_threads(1):
        coarse_scores = [
            _coarse_score(rotated(proxy, rotation), frame, config, generator, similarity) for rotation in rotations
        ]
        best = sorted(range(len(rotations)), key=lambda index: -coarse_scores[index])[:FULL_SEARCHES]
        best = [index for index in best if coarse_scores[index] >= max(coarse_scores) - MAX_COARSE_DEFICIT]
        best += [0] if hints and 0 not in best else []
        final_scores, cameras = torch.full((len(rotations),), torch.nan), {}
        for index in best:
            upright, hints_of_rotation = rotated(fine, rotations[index]), hints if index == 0 else ()
            result = find_camera(upright, frame, config, generator, hints_of_rotation, similarity, proposers)
            final_scores[index], cameras[index] = result.score, result.orbit
        chosen = max(cameras, key=lambda index: float(final_scores[index]))
        comparison = RenderComparison(rotated(fine, rotations[chosen]), frame, similarity)
        extrinsics, score = _refine_with_roll(comparison, cameras[chosen], float(final_scores[chosen]), config)
    rotation = torch.eye(4)
    rotation[:3, :3] = rotations[chosen].cpu()
    return UserMeshCamera(
        extrinsics @ rotation, score, torch.stack(rotations).cpu(), torch.tensor(coarse_scores), final_scores
    )


def upright_rotations() -> list[np.ndarray]:
    """Six rotations (3, 3), one for each signed axis, that map it to y (up); the identity comes first."""
    result: dict[tuple[float, ...], np.ndarray] = {}
    for rotation in cube_rotations():
        result.setdefault(tuple(rotation[1]), rotation)  # row 1: the axis that is mapped to y
    return list(result.values())


def rotated(mesh: Mesh, rotation: Tensor) -> Mesh:
    """Mesh rotated by a matrix (3, 3)."""
    return mesh.with_vertices(mesh.vertices @ rotation.T)


def with_mean_color(mesh: Mesh, frame: Frame) -> Mesh:
    """The mesh itself, or, if it has neither colours nor texture, in the mean colour of the frame's foreground."""
    if mesh.colors is not None or (mesh.texture is not None and mesh.uvs is not None):
        return mesh
    weight = frame.rgba[..., 3:].astype(np.float64)
    mean = (frame.rgba[..., :3] * weight).sum((0, 1)) / max(weight.sum(), 1.0) / 255
    return replace(mesh, colors=torch.from_numpy(mean).to(mesh.vertices).expand(len(mesh.vertices), 3))


def _coarse_score(
    mesh: Mesh, frame: Frame, config: SearchConfig, generator: torch.Generator, similarity: Similarity
) -> float:
    """Best similarity of sampled cameras of all directions, at half the search's resolution."""
    comparison = RenderComparison(mesh, frame, similarity)
    views = sample_views(comparison.view_parameters, hull_points(mesh), comparison.box, config.samples, generator)
    return float(comparison.score(views, max(config.size // 2, 1)).max())


def _refine_with_roll(
    comparison: RenderComparison, orbit: Orbit, score: float, config: SearchConfig
) -> tuple[Tensor, float]:
    """Extrinsics (4, 4) of the camera, with roll if that gains ``MIN_ROLL_GAIN`` of similarity, and its similarity."""
    size = 2 * config.size
    without_roll = comparison.view_parameters.views(orbit.to(comparison.mesh.vertices.device))
    views = torch.cat([without_roll, torch.zeros_like(without_roll[:, :1])], 1)
    result, _ = refine(comparison, views, size, config.refine_steps)
    value = float(comparison.score(result, size))
    if value > score + MIN_ROLL_GAIN:
        return comparison.view_parameters.camera(result).extrinsics[0].detach().cpu(), value
    return comparison.view_parameters.camera(without_roll).extrinsics[0].cpu(), score


def _summary(result: Arrays) -> str:
    """Similarities of each up axis, as one line for the log."""
    parts = []
    for rotation, coarse_score, final_score in zip(
        result["rotations"], result["coarse_scores"], result["final_scores"], strict=True
    ):
        axis = int(np.abs(rotation[1]).argmax())
        name = f"{'-' if rotation[1, axis] < 0 else '+'}{'xyz'[axis]} up"
        parts.append(f"{name} {coarse_score:.3f}" + ("" if np.isnan(final_score) else f" -> {final_score:.3f}"))
    return ", ".join(parts)
