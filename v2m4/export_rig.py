"""Export skeletons: a rig found from the motion of any mesh, and the motion on a user mesh's own skeleton."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.camera import Camera
from v2m4.io.gltf import smallest_encoding, write_rigged_glb
from v2m4.io.user_mesh import DocumentSkeleton, UserMesh
from v2m4.mesh import MeshSequence
from v2m4.skinning.curves import Curve, poses_at, thinned
from v2m4.skinning.pose_fit import fit_poses
from v2m4.skinning.rig import Rig, fit_rig, spread
from v2m4.skinning.tuning import POSE_FIT
from v2m4.workspace import Workspace, code_version, digest

RIGGED = "output_animation_rigged.glb"


@dataclass(frozen=True)
class SkeletonMotion:
    """A motion on a user mesh's own skeleton.

    Attributes:
        skeleton: the file's.
        curves: of its nodes.
        poses: (T, V, 3) float64 the working mesh's vertices under these curves, relative to the mesh's origin.
        rms: root mean square distance from the tracked surface, relative to the object's size.
        largest: largest such distance.
    """

    skeleton: DocumentSkeleton
    curves: list[Curve]
    poses: np.ndarray
    rms: float
    largest: float

    def record(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "joints": int(self.skeleton.skeleton.rotating.sum()),
            "keys": sum(len(curve.times) for curve in self.curves),
            "rms_percent": round(100 * self.rms, 4),
            "largest_percent": round(100 * self.largest, 4),
        }


def fit_own_skeleton(
    user_mesh: UserMesh, skeleton: DocumentSkeleton, poses: np.ndarray, times: np.ndarray, tolerance: float
) -> SkeletonMotion:
    """Solve for the motion of a user mesh's own skeleton from the tracked surface.

    Args:
        user_mesh: the mesh.
        skeleton: its skeleton.
        poses: (T, V, 3) tracked vertices of its working mesh, in the file's world relative to its origin.
        times: (T,) seconds.
        tolerance: largest distance, relative to the object's size, by which leaving out keys may move a vertex.
    """
    size = float(np.ptp(user_mesh.mesh.vertices.numpy(), axis=0).max())
    tree, binding = skeleton.skeleton, skeleton.binding
    rows = spread(len(binding.weights), POSE_FIT.points)
    found = fit_poses(tree, binding[rows], poses[:, rows], size)
    curves = thinned(tree, binding, found, times, tolerance * size)
    skinned = binding.skinned(*tree.world(poses_at(tree, curves, times)))
    errors = np.linalg.norm(skinned - poses, axis=2) / size
    return SkeletonMotion(skeleton, curves, skinned, float(np.sqrt((errors**2).mean())), float(errors.max()))


def export_rig(
    workspace: Workspace,
    sequence: MeshSequence,
    camera: Camera,
    bones: int,
    tolerance: float,
    user_mesh: UserMesh | None = None,
) -> Path:
    """Write ``output_animation_rigged.glb``: the animation with bones, skin weights and joint curves.

    The manifest's ``rig`` says how far the skinned vertices are from the animation.

    Args:
        workspace: the animation's folder.
        sequence: the poses of all frames at times in seconds, in the exported world; of a user mesh its working mesh's.
        camera: the video's, in that world.
        bones: at most.
        tolerance: largest distance, relative to the object's size, by which leaving out keys may move a vertex.
        user_mesh: the user mesh, whose file is written; None writes the sequence's own mesh.

    Raises:
        OSError: the file cannot be written.
    """
    mesh = sequence.mesh.arrays()
    key = digest(
        *(mesh[field] for field in sorted(mesh)),
        sequence.vertices.numpy(),
        np.asarray(sequence.times, dtype=np.float64),
        None if user_mesh is None else user_mesh.content_digest,
        camera.extrinsics.tolist(),
        [camera.fov, camera.aspect, bones, tolerance],
        code_version(),
    )
    end = float(sequence.times[-1])

    def write(path: Path) -> None:
        start = time.perf_counter()
        rig = fit_rig(sequence, bones, tolerance)
        if user_mesh is None:
            texture = None if sequence.mesh.texture is None else smallest_encoding(sequence.mesh.texture)
            write_rigged_glb(path, sequence.mesh, rig, end, camera, texture=texture)
        else:
            user_mesh.write_rigged(path, rig, end, camera)
        workspace.manifest["rig"] = _record(rig) | {"seconds": round(time.perf_counter() - start, 1)}

    return workspace.make_file(RIGGED, key, write)


def remove_rig(workspace: Workspace) -> None:
    """Remove the rigged file of an earlier run, which shows another animation."""
    workspace.path(RIGGED).unlink(missing_ok=True)
    workspace.manifest.pop("rig", None)


def _record(rig: Rig) -> dict[str, Any]:
    return {
        "bones": len(rig.skeleton),
        "translating": int(rig.skeleton.translating.sum()),
        "keys": sum(len(curve.times) for curve in rig.curves),
        "rms_percent": round(100 * rig.rms, 4),
        "largest_percent": round(100 * rig.largest, 4),
    }
