"""Export a user mesh deformed by the video: the user's file, animated, in its own world.

The file's world keeps its axes and units; the video's camera is placed in it such that the mesh overlays the video.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.export import ANIMATION, OFFSETS, REST_MESH, camera_to_world, write_cameras
from v2m4.export_rig import SkeletonMotion, export_rig, fit_own_skeleton, remove_rig
from v2m4.io.user_mesh import UserMesh
from v2m4.keyframe_reduction import reduced_frames
from v2m4.mesh import MeshSequence
from v2m4.workspace import Workspace, code_version, digest


def split_similarity(matrix: Tensor) -> tuple[Tensor, float]:
    """Split a similarity (4, 4) into rigid extrinsics (4, 4) float64, in its source's units, and its scale.

    Raises:
        ValueError: the matrix is not a similarity.
    """
    matrix64 = matrix.detach().cpu().double()
    scale = float(torch.linalg.det(matrix64[:3, :3]).abs() ** (1 / 3))
    if not scale > 0:
        raise ValueError(f"expected a similarity, got {matrix.tolist()}")
    rigid = matrix64.clone()
    rigid[:3] /= scale
    camera_to_world(rigid)  # refuses what is not rigid
    return rigid, scale


def export_user_mesh(
    workspace: Workspace,
    user_mesh: UserMesh,
    sequence: MeshSequence,
    names: Sequence[str],
    to_camera: Tensor,
    *,
    fov: float,
    aspect: float,
    fps: float,
    times: np.ndarray | None = None,
    write: str = "auto",
    bones: int = 0,
    tolerance: float = 0.0,
) -> Path:
    """Write the animated file, its rest pose, offsets and cameras.

    Args:
        workspace: the animation's folder.
        user_mesh: the user mesh.
        sequence: T poses of its working mesh, in the video camera's space.
        names: names of the T frames.
        to_camera: (4, 4) similarity from the file's world, relative to the user mesh's origin, to that space.
        fov: vertical field of view of the video's camera, radians.
        aspect: width / height of the video.
        fps: mean rate, frames per second.
        times: (T,) seconds of the frames (default: uniform, from 0).
        write: ``skeleton`` animates the file's own joints, ``morph`` writes morph targets; ``auto`` is ``skeleton``
            where the file has a skin.
        bones: of ``output_animation_rigged.glb``, at most, for a mesh without a skeleton of its own; 0 for none.
        tolerance: of the animated file's poses, or of its joints' curves, as in ``export_animation``.

    Returns:
        The path of ``output_animation.glb``.

    Raises:
        ValueError: names and poses differ in number, or the matrix is not a similarity.
        OSError: a file cannot be written.
    """
    if len(names) != len(sequence) or len(names) == 0:
        raise ValueError(f"export_user_mesh: {len(names)} names for {len(sequence)} poses")
    seconds = np.arange(len(names)) / fps if times is None else np.asarray(times, dtype=np.float64)
    rigid, scale = split_similarity(to_camera)
    camera_pose = camera_to_world(rigid).numpy()
    own = user_mesh.skeleton() if write != "morph" else None
    if own is None and write == "skeleton":
        raise ValueError(f"{user_mesh.path}: has no skin, so --write skeleton has no joints to animate")
    poses = sequence.vertices.detach().cpu().numpy()
    content = digest(
        user_mesh.content_digest,
        poses,
        list(names),
        seconds,
        to_camera.detach().cpu().tolist(),
        [fov, aspect, fps],
        [own is not None, tolerance if own is not None else 0],
        code_version(),
    )
    camera = Camera(rigid.float()[None], fov, aspect)

    def file_vertices(pose: np.ndarray) -> np.ndarray:
        """A pose (V, 3) in camera space, transformed to the file's world relative to the user mesh's origin."""
        return (pose.astype(np.float64) / scale) @ camera_pose[:3, :3].T + camera_pose[:3, 3]

    @cache
    def motion() -> SkeletonMotion:
        assert own is not None
        found = fit_own_skeleton(user_mesh, own, file_vertices(poses), seconds, tolerance)
        workspace.manifest["skeleton"] = found.record()
        return found

    def write_animation(path: Path) -> None:
        if own is None:
            kept = reduced_frames(poses, seconds, tolerance)
            kept_names, moved = [names[index] for index in kept], map(file_vertices, poses[kept])
            user_mesh.write_animation(path, moved, seconds[kept], camera, target_names=kept_names)
        else:
            user_mesh.write_skeleton(path, own, motion().curves, float(seconds[-1]), camera)

    def write_offsets(path: Path) -> None:
        rest = user_mesh.mesh.vertices.double().numpy()
        written = map(file_vertices, poses) if own is None else iter(motion().poses)
        buffer = io.BytesIO()
        np.save(buffer, np.stack([pose - rest for pose in written]).astype(np.float32), allow_pickle=False)
        path.write_bytes(buffer.getvalue())

    workspace.make_file(REST_MESH, content, lambda path: user_mesh.write_static(path, user_mesh.mesh.vertices, camera))
    workspace.make_file(OFFSETS, content, write_offsets)
    write_cameras(workspace, content, names, camera, fps, seconds, user_mesh.origin)
    if own is None:
        workspace.manifest.pop("skeleton", None)
    if own is None and bones and user_mesh.skeleton() is None:
        mesh = replace(user_mesh.mesh, texture=None, uvs=None, uv_faces=None)
        moved = MeshSequence(torch.from_numpy(file_vertices(poses).astype(np.float32)), mesh, seconds)
        export_rig(workspace, moved, camera, bones, tolerance, user_mesh)
    else:
        remove_rig(workspace)
    return workspace.make_file(ANIMATION, digest(content, tolerance), write_animation)


def file_axes_extrinsics(to_camera: Tensor) -> Tensor:
    """Rigid extrinsics (4, 4) from the file's axes to camera space, in camera-space units: for contact sheets."""
    rigid, scale = split_similarity(to_camera)
    rigid[:3, 3] *= scale
    return rigid.float()
