"""Small surfaces for the tests of the geometry metrics."""

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation

from v2m4.mesh import Mesh


def box(sides=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0)) -> Mesh:
    corners = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = torch.tensor([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    return Mesh(corners * torch.tensor(sides) + torch.tensor(centre), faces)


def sphere(radius: float = 1.0, centre=(0.0, 0.0, 0.0)) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(
        torch.from_numpy(np.array(ball.vertices + centre, dtype=np.float32)),
        torch.from_numpy(np.array(ball.faces, dtype=np.int64)),
    )


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + int(offset) for mesh, offset in zip(meshes, offsets, strict=False)]
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat(faces))


def figure(turn: float = 0.0) -> Mesh:
    """A body with an arm that turns about z: no symmetry."""
    body, arm = box((1.0, 1.6, 0.5)), box((1.2, 0.2, 0.2), (0.6, 0.0, 0.1))
    rotation = torch.from_numpy(Rotation.from_euler("z", turn, degrees=True).as_matrix()).float()
    return joined(body, arm.with_vertices(arm.vertices @ rotation.T + torch.tensor([0.4, 0.6, 0.0])))


def moved(frames: list[Mesh], linear: np.ndarray, shift=(0.0, 0.0, 0.0)) -> list[Mesh]:
    matrix, offset = torch.from_numpy(np.asarray(linear, dtype=np.float64)), torch.tensor(shift, dtype=torch.float64)
    return [frame.with_vertices((frame.vertices.double() @ matrix.T + offset).float()) for frame in frames]
