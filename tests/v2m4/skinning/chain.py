"""A tube that bends at two joints: a mesh sequence whose bones, joints and weights are known."""

import numpy as np
import torch
import trimesh

from v2m4.mesh import Mesh, MeshSequence
from v2m4.rotation import axis_rotation
from v2m4.skinning.skeleton import Binding, Skeleton, SkeletonPoses

JOINTS = np.array([[0.0, -0.5, 0.0], [0.0, -0.15, 0.0], [0.0, 0.2, 0.0]])


def tube() -> Mesh:
    """A closed tube along y, of length 1, with rings close enough to bend."""
    form = trimesh.creation.cylinder(0.08, 1.0, sections=16).subdivide().subdivide()
    vertices = form.vertices[:, [0, 2, 1]].astype(np.float32)
    return Mesh(torch.from_numpy(vertices), torch.from_numpy(form.faces[:, ::-1].copy()))


def skeleton() -> Skeleton:
    """Three bones in a row, the first translating."""
    offsets = np.concatenate([JOINTS[:1], np.diff(JOINTS, axis=0)])
    identity = np.tile(np.eye(3), (3, 1, 1))
    return Skeleton(
        np.array([-1, 0, 1]), offsets, identity, identity, np.ones(3, dtype=bool), np.array([True, False, False])
    )


def binding(vertices: np.ndarray, blend: float = 0.1) -> Binding:
    """Points (V, 3) bound to the three bones, linearly blended over ``blend`` about each joint."""
    heights = vertices[:, 1]
    second = np.clip((heights - JOINTS[1, 1]) / blend + 0.5, 0, 1)
    third = np.clip((heights - JOINTS[2, 1]) / blend + 0.5, 0, 1)
    weights = np.stack([1 - second, second - third, third], 1)
    nodes = np.tile(np.arange(3), (len(vertices), 1))
    return Binding(nodes, weights, vertices[:, None] - JOINTS[None])


def poses(frames: int, bend: float = 1.0) -> SkeletonPoses:
    """The bones swing about z and x, the root drifts."""
    result = skeleton().rest(frames)
    phase = np.linspace(0, 1, frames)
    result.rotations[:, 0] = axis_rotation(1, 0.4 * bend * phase)
    result.rotations[:, 1] = axis_rotation(2, bend * np.sin(3 * phase))
    result.rotations[:, 2] = axis_rotation(0, -0.8 * bend * phase)
    result.translations[:, 0] += np.stack([0.3 * phase, 0 * phase, 0.1 * phase**2], 1)
    return result


def sequence(frames: int = 20, blend: float = 0.1) -> MeshSequence:
    """The tube moved by these poses, a frame every 30th of a second."""
    mesh = tube()
    vertices = binding(mesh.vertices.double().numpy(), blend).skinned(*skeleton().world(poses(frames)))
    return MeshSequence(torch.from_numpy(vertices.astype(np.float32)), mesh, np.arange(frames) / 30)
