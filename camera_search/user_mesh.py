"""The camera of a mesh that a user gives: whichever way its up axis points, and whichever way it faces.

The search knows upright cameras only, and a generated mesh stands upright; a user's may lie on its back or side. Of the
24 turns that take the axes to axes, four at a time differ by quarter turns about the new vertical, which the search
tries anyway, as it looks from all round. So six turns are left, one for each axis that may point up. A fan of cameras
all round tells which of them are worth the whole search; the best camera may then roll, too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from camera_search.comparison import Comparison
from camera_search.parts import Parts
from camera_search.pointmap import CameraGuess
from camera_search.refine import refine
from camera_search.sampling import hull_points, sample_views
from camera_search.search import find_camera, one_thread
from camera_search.similarity import PictureAgreement, Similarity
from camera_search.stage import FOLDER, cameras_json, draw_posed, pose_asset, write_text
from v2m4.camera import Orbit, orbit_from_extrinsics
from v2m4.config import Config, SearchConfig
from v2m4.decimate import simplified
from v2m4.device import device_of
from v2m4.export import write_mesh_glb_in_world
from v2m4.frame import Frame
from v2m4.mesh import Asset, Mesh, PosedAsset
from v2m4.preflight.camera_search import version
from v2m4.rotation import cube_rotations
from v2m4.workspace import Arrays, Workspace, code_version, digest

log = logging.getLogger("v2m4.camera_search")

FOLLOWED = 3  # turns, the best of all, that get the whole search
BEHIND = 0.15  # of similarity, by which a turn's fan may be behind the best fan's to be followed
ROLLING = 0.002  # of similarity, by which a camera with roll must be better than one without


@dataclass(frozen=True)
class TurnedCamera:
    """What was found.

    Attributes:
        extrinsics: (4, 4) rigid, from the mesh as it was given to the camera's space.
        score: similarity of the render with the frame, 1 is the same picture.
        turns: (6, 3, 3) that were tried.
        fans: (6,) the best similarity of each turn's fan, at low resolution.
        finals: (6,) similarity at the end of each turn's search, NaN where there was none.
    """

    extrinsics: Tensor
    score: float
    turns: Tensor
    fans: Tensor
    finals: Tensor

    def arrays(self) -> Arrays:
        """For the disk."""
        tensors = {name: getattr(self, name).cpu().numpy() for name in ("extrinsics", "turns", "fans", "finals")}
        return {**tensors, "score": np.float64(self.score)}


def pose_user_mesh(frame: Frame, asset: Asset, workspace: Workspace, config: Config) -> PosedAsset:
    """Stage 2 for a mesh that a user gives: the camera of one frame, and the mesh posed.

    Args:
        frame: the first of the video, background removed.
        asset: the mesh in the unit cube, any side up, facing anywhere, with a texture, vertex colours or neither.
        workspace: the animation's folder.
        config: all options; ``seed``, ``device``, ``search``, ``use_vggt`` and where weights lie count here.

    Returns:
        the mesh in the video camera's space, with the look that it came with; scale 1.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces.
        Unavailable: a learned part that the options name is not here.
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
        parts, generator = Parts.load(config), torch.Generator().manual_seed(config.seed * 1_000_003 + frame.index)
        mesh, hints = with_look(asset.mesh, frame).to(device), [asset.hint] if asset.hint is not None else []
        result = find_turned_camera(mesh, frame, config.search, generator, hints, parts.similarity, parts.guesses)
        return result.arrays()

    found = workspace.make_arrays(f"{FOLDER}/{frame.name}.npz", key, search)
    pose = pose_asset(asset.mesh, torch.from_numpy(found["extrinsics"]), 1.0, float(found["score"]))
    log.info("%s: similarity %.3f; %s", frame.name, pose.score, _in_words(found))
    shown = with_look(pose.mesh, frame)
    workspace.make_file(f"{FOLDER}/{frame.name}.png", key, partial(draw_posed, frame=frame, mesh=shown))
    write_mesh_glb_in_world(workspace, f"{frame.name}_re-canonicalization_sample.glb", pose.mesh, pose.extrinsics)
    orbit = orbit_from_extrinsics(pose.extrinsics[None], float(pose.mesh.vertices[:, 2].mean()))
    text = cameras_json([frame], [pose], [orbit])
    workspace.make_file(f"{FOLDER}/cameras.json", digest(text), partial(write_text, text=text))
    return pose


def find_turned_camera(
    mesh: Mesh,
    frame: Frame,
    config: SearchConfig,
    generator: torch.Generator,
    hints: Sequence[Orbit] = (),
    similarity: Similarity | None = None,
    guesses: Sequence[CameraGuess] | None = None,
) -> TurnedCamera:
    """Find the camera that sees a mesh as the frame shows it, whichever axis of the mesh points up.

    Args:
        mesh: with a texture or vertex colours.
        frame: background removed.
        config: how much work to spend on each turn.
        generator: CPU generator, source of all randomness.
        hints: cameras of the mesh as it was given that may be right.
        similarity: as in ``find_camera``.
        guesses: as in ``find_camera``.

    Raises:
        ValueError: the frame has no foreground, or the mesh no faces or no colours.
    """
    if len(mesh.faces) == 0:
        raise ValueError(f"frame {frame.name}: the mesh to search a camera for has no faces")
    turns = [torch.from_numpy(turn).to(mesh.vertices) for turn in upward_turns()]
    proxy, closer = (simplified(mesh, faces) for faces in (config.proxy_faces, config.refine_faces))
    similarity = similarity or PictureAgreement()
    with one_thread():
        fans = [_fan(turned(proxy, turn), frame, config, generator, similarity) for turn in turns]
        best = sorted(range(len(turns)), key=lambda index: -fans[index])[:FOLLOWED]
        best = [index for index in best if fans[index] >= max(fans) - BEHIND]
        best += [0] if hints and 0 not in best else []
        finals, cameras = torch.full((len(turns),), torch.nan), {}
        for index in best:
            upright, known = turned(closer, turns[index]), hints if index == 0 else ()
            result = find_camera(upright, frame, config, generator, known, similarity, guesses)
            finals[index], cameras[index] = result.score, result.orbit
        chosen = max(cameras, key=lambda index: float(finals[index]))
        there = Comparison(turned(closer, turns[chosen]), frame, similarity)
        extrinsics, score = _rolled(there, cameras[chosen], float(finals[chosen]), config)
    turn = torch.eye(4)
    turn[:3, :3] = turns[chosen].cpu()
    return TurnedCamera(extrinsics @ turn, score, torch.stack(turns).cpu(), torch.tensor(fans), finals)


def upward_turns() -> list[np.ndarray]:
    """Rotations (3, 3), one for each axis, both ways, that they make point up; the identity comes first."""
    found: dict[tuple[float, ...], np.ndarray] = {}
    for rotation in cube_rotations():
        found.setdefault(tuple(rotation[1]), rotation)  # the axis that y, up, is read from
    return list(found.values())


def turned(mesh: Mesh, rotation: Tensor) -> Mesh:
    """A mesh under a rotation (3, 3)."""
    return mesh.with_vertices(mesh.vertices @ rotation.T)


def with_look(mesh: Mesh, frame: Frame) -> Mesh:
    """The mesh as it is, or, where it has neither colours nor a texture, in the mean colour of the frame's object."""
    if mesh.colors is not None or (mesh.texture is not None and mesh.uvs is not None):
        return mesh
    weight = frame.rgba[..., 3:].astype(np.float64)
    mean = (frame.rgba[..., :3] * weight).sum((0, 1)) / max(weight.sum(), 1.0) / 255
    return replace(mesh, colors=torch.from_numpy(mean).to(mesh.vertices).expand(len(mesh.vertices), 3))


def _fan(mesh: Mesh, frame: Frame, config: SearchConfig, generator: torch.Generator, similarity: Similarity) -> float:
    """The best similarity of cameras all round a mesh, at half the search's resolution."""
    comparison = Comparison(mesh, frame, similarity)
    views = sample_views(comparison.space, hull_points(mesh), comparison.box, config.samples, generator)
    return float(comparison.score(views, max(config.size // 2, 1)).max())


def _rolled(there: Comparison, orbit: Orbit, score: float, config: SearchConfig) -> tuple[Tensor, float]:
    """Extrinsics (4, 4) of a camera that may roll where that is clearly better, and its similarity."""
    size = 2 * config.size
    level = there.space.views(orbit.to(there.mesh.vertices.device))
    views = torch.cat([level, torch.zeros_like(level[:, :1])], 1)
    found, _ = refine(there, views, size, config.refine_steps)
    value = float(there.score(found, size))
    if value > score + ROLLING:
        return there.space.camera(found).extrinsics[0].detach().cpu(), value
    return there.space.camera(level).extrinsics[0].cpu(), score


def _in_words(found: Arrays) -> str:
    """How well each axis fared as the one that points up."""
    parts = []
    for turn, fan, final in zip(found["turns"], found["fans"], found["finals"], strict=True):
        axis = int(np.abs(turn[1]).argmax())
        name = f"{'-' if turn[1, axis] < 0 else '+'}{'xyz'[axis]} up"
        parts.append(f"{name} {fan:.3f}" + ("" if np.isnan(final) else f" -> {final:.3f}"))
    return ", ".join(parts)
