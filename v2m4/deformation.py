"""How a surface is stretched and turned about each of its vertices, from one pose to another."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

FLAT = 1e-12  # of the mean area: faces that are smaller have no shape to speak of


class SurfaceGradients:
    """Deformation gradients at the vertices of a mesh: what a small step from a vertex becomes in another pose.

    A face's gradient takes its edges to where they are in the other pose and its unit normal to the unit normal there
    (a surface says nothing about its thickness); a vertex has the mean of its faces, weighted by their area at rest.
    It is exact where the motion is rigid, and the identity, to the bit, where nothing moves.

    Attributes:
        faces: (F, 3) those that have an area at rest.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """Prepare for many poses.

        Args:
            vertices: (V, 3) the rest pose.
            faces: (F, 3); faces without an area at rest are passed over.
        """
        frames = _frames(vertices, faces)
        area = np.linalg.norm(np.cross(frames[:, 0], frames[:, 1]), axis=1)
        whole = area > FLAT * max(float(area.mean()) if len(area) else 0.0, 1e-300)
        self.faces, self._rest = faces[whole], frames[whole]
        self._inverse = np.linalg.inv(self._rest)
        corners = self.faces.reshape(-1)
        total = np.bincount(corners, np.repeat(area[whole], 3), len(vertices))
        weights = np.repeat(area[whole], 3) / total[corners]
        columns = np.repeat(np.arange(len(self.faces)), 3)
        self._mean = csr_array((weights, (corners, columns)), shape=(len(vertices), len(self.faces)))

    def changes(self, pose: np.ndarray) -> np.ndarray:
        """The gradients less the identity, (V, 3, 3) float64; 0 at vertices without a face that has an area.

        Args:
            pose: (V, 3).
        """
        # Rows of a frame are its axes: inverse @ moved is the gradient transposed.
        moved = _frames(pose, self.faces) - self._rest
        transposed = self._mean @ (self._inverse @ moved).reshape(-1, 9)
        return transposed.reshape(-1, 3, 3).swapaxes(1, 2)


def turned_normals(changes: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Normals under deformation gradients: the cofactor matrix times the normal, of length 1.

    Args:
        changes: (N, 3, 3) gradients less the identity.
        normals: (N, 3) at rest; those of length 0 stay so.
    """
    a, b, c = np.moveaxis(changes + np.eye(3), 2, 0)
    turned = np.cross(b, c) * normals[:, :1] + np.cross(c, a) * normals[:, 1:2] + np.cross(a, b) * normals[:, 2:]
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    return np.where(length > 1e-12, turned / np.maximum(length, 1e-12), normals)


def _frames(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Two edges and the unit normal of each face as rows, (F, 3, 3) float64."""
    corners = vertices[faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([first, second, normal / np.maximum(length, 1e-300)], 1)
