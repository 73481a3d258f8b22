"""Deformation gradients at the vertices of a surface, from a rest pose to another pose."""

from __future__ import annotations

import numpy as np

from v2m4.kernels import kernel

FLAT = 1e-12  # relative to the mean area: smaller faces are treated as degenerate


class SurfaceGradients:
    """Deformation gradients (3 x 3) at the vertices of a mesh.

    A face's gradient maps its rest edges to its posed edges and its unit normal to the posed unit normal, as a surface
    does not determine the stretch across itself; a vertex has the mean of its faces, weighted by their rest area. The
    result is exact for rigid motion, and bit for bit the identity where nothing moves.

    Attributes:
        faces: (F, 3) the faces that are not degenerate at rest.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """Precompute what does not depend on the pose.

        Args:
            vertices: (V, 3) the rest pose.
            faces: (F, 3); faces that are degenerate at rest are ignored.
        """
        rest, corners = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
        area = np.linalg.norm(np.cross(*np.moveaxis(rest[corners[:, 1:]] - rest[corners[:, :1]], 1, 0)), axis=1)
        whole = area > FLAT * max(float(area.mean()) if len(area) else 0.0, 1e-300)
        self.faces = np.ascontiguousarray(corners[whole])
        total = np.bincount(self.faces.reshape(-1), np.repeat(area[whole], 3), len(rest))
        self._shares = np.repeat(area[whole], 3).reshape(-1, 3) / total[self.faces]
        self._rest = _frames(rest, self.faces)
        self._inverse = np.linalg.inv(self._rest)

    def changes(self, pose: np.ndarray) -> np.ndarray:
        """Deformation gradients minus the identity, (V, 3, 3) float64; 0 at vertices without a non-degenerate face.

        Args:
            pose: (V, 3).
        """
        return _mean_changes(
            np.ascontiguousarray(pose, np.float64), self.faces, self._rest, self._inverse, self._shares
        )


def turned_normals(changes: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Transform unit normals by deformation gradients (cofactor matrix times normal, normalised).

    Args:
        changes: (N, 3, 3) gradients minus the identity.
        normals: (N, 3) at rest; those of length 0 stay so.
    """
    a, b, c = np.moveaxis(changes + np.eye(3), 2, 0)
    turned = np.cross(b, c) * normals[:, :1] + np.cross(c, a) * normals[:, 1:2] + np.cross(a, b) * normals[:, 2:]
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    return np.where(length > 1e-12, turned / np.maximum(length, 1e-12), normals)


@kernel("f8[:,::1], i8[:,::1]", ahead=False)
def _frames(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Two edges and the unit normal of each face as rows, (F, 3, 3) float64."""
    frames = np.empty((len(faces), 3, 3))
    for face in range(len(faces)):
        _frame(vertices, faces[face], frames[face])
    return frames


@kernel
def _frame(vertices: np.ndarray, corners: np.ndarray, frame: np.ndarray) -> None:
    """Fill the rows (3, 3) of one face."""
    for axis in range(3):
        frame[0, axis] = vertices[corners[1], axis] - vertices[corners[0], axis]
        frame[1, axis] = vertices[corners[2], axis] - vertices[corners[0], axis]
    length = 0.0
    for axis in range(3):
        after, last = (axis + 1) % 3, (axis + 2) % 3
        frame[2, axis] = frame[0, after] * frame[1, last] - frame[0, last] * frame[1, after]
        length += frame[2, axis] ** 2
    length = max(np.sqrt(length), 1e-300)
    for axis in range(3):
        frame[2, axis] /= length


@kernel("f8[:,::1], i8[:,::1], f8[:,:,::1], f8[:,:,::1], f8[:,::1]", ahead=False)
def _mean_changes(
    pose: np.ndarray, faces: np.ndarray, rest: np.ndarray, inverse: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """The sum over each vertex's faces of share times gradient less identity, (V, 3, 3)."""
    changes = np.zeros((len(pose), 3, 3))
    moved, change = np.empty((3, 3)), np.empty((3, 3))
    for face in range(len(faces)):
        _frame(pose, faces[face], moved)
        # Rows of a frame are its axes: inverse @ (moved - rest) is the change of the gradient, transposed.
        for row in range(3):
            for column in range(3):
                total = 0.0
                for inner in range(3):
                    total += inverse[face, column, inner] * (moved[inner, row] - rest[face, inner, row])
                change[row, column] = total
        for corner in range(3):
            for row in range(3):
                for column in range(3):
                    changes[faces[face, corner], row, column] += shares[face, corner] * change[row, column]
    return changes
