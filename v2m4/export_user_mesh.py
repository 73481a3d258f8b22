"""What a given mesh that was moved leaves in its folder: the user's own file, animated, in the user's own world.

The file's world keeps its axes and its units; the video's camera stands in it where the mesh, as the first frame shows
it, overlays the video.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Camera
from v2m4.export import ANIMATION, OFFSETS, REST_MESH, camera_to_world, write_cameras
from v2m4.io.user_mesh import UserMesh
from v2m4.mesh import MeshSequence
from v2m4.workspace import Workspace, code_version, digest


def rigid_part(matrix: Tensor) -> tuple[Tensor, float]:
    """A similarity (4, 4) as rigid extrinsics (4, 4), float64, in the units it starts from, and its scale.

    Raises:
        ValueError: the matrix is no similarity.
    """
    stored = matrix.detach().cpu().double()
    scale = float(torch.linalg.det(stored[:3, :3]).abs() ** (1 / 3))
    if not scale > 0:
        raise ValueError(f"expected a similarity, got {matrix.tolist()}")
    rigid = stored.clone()
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
) -> Path:
    """Write the animated file, the file's rest pose, offsets and cameras.

    Args:
        workspace: the animation's folder.
        user_mesh: the user's mesh.
        sequence: T poses of its working vertices, in the space of the video's camera.
        names: of the T frames.
        to_camera: (4, 4) similarity from the file's world to that space.
        fov: vertical field of view of the video's camera, radians.
        aspect: width / height of the video.
        fps: frames per second.

    Returns:
        The path of ``output_animation.glb``.

    Raises:
        ValueError: names and poses differ in number, or the matrix is no similarity.
        OSError: a file cannot be written.
    """
    if len(names) != len(sequence) or len(names) == 0:
        raise ValueError(f"export_user_mesh: {len(names)} names for {len(sequence)} poses")
    rigid, scale = rigid_part(to_camera)
    poses = sequence.vertices.detach().cpu().numpy()
    content = digest(
        user_mesh.content_digest,
        poses,
        list(names),
        to_camera.detach().cpu().tolist(),
        [fov, aspect, fps],
        code_version(),
    )
    camera = Camera(rigid.float()[None], fov, aspect)
    back = camera_to_world(rigid).numpy()

    def in_file(pose: np.ndarray) -> np.ndarray:
        """A pose (V, 3) in the file's world."""
        return (pose.astype(np.float64) / scale) @ back[:3, :3].T + back[:3, 3]

    def write_animation(path: Path) -> None:
        moments = np.arange(len(poses)) / fps
        user_mesh.write_animation(path, map(in_file, poses), moments, camera, target_names=names)

    def write_offsets(path: Path) -> None:
        rest = user_mesh.mesh.vertices.double().numpy()
        buffer = io.BytesIO()
        np.save(buffer, np.stack([in_file(pose) - rest for pose in poses]).astype(np.float32), allow_pickle=False)
        path.write_bytes(buffer.getvalue())

    workspace.make_file(REST_MESH, content, lambda path: user_mesh.write_static(path, user_mesh.mesh.vertices, camera))
    workspace.make_file(OFFSETS, content, write_offsets)
    write_cameras(workspace, content, names, camera, fps)
    return workspace.make_file(ANIMATION, content, write_animation)


def axes_of_the_file(to_camera: Tensor) -> Tensor:
    """Rigid extrinsics (4, 4) from the file's axes to camera space, in units of that: for contact sheets."""
    rigid, scale = rigid_part(to_camera)
    rigid[:3, 3] *= scale
    return rigid.float()
