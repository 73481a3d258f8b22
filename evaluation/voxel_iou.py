"""Intersection over union of the volumes that two surface sequences enclose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.alignment import apply
from evaluation.geometry_metrics import Alignment, align_first_frames
from evaluation.surface_points import paired_frames, positions, topology
from v2m4.kernels import kernel
from v2m4.mesh import Mesh

# Rays are offset so that none meets an edge exactly, voxels.
JITTER = np.array([0.5 + 1.7e-5, 0.5 - 2.3e-5, 0.5 + 3.1e-5])


@dataclass(frozen=True)
class VoxelIouScores:
    """Intersection over union of the enclosed voxels.

    Attributes:
        iou: mean over the frames.
        per_frame_iou: (T,).
        truth_closed: no frame of the truth has a boundary edge.
        prediction_closed: the same of the prediction. Where a side is open, inside is decided by majority of the axes.
    """

    iou: float
    per_frame_iou: np.ndarray
    truth_closed: bool
    prediction_closed: bool


def voxel_iou(
    truth: Iterable[Mesh],
    prediction: Iterable[Mesh],
    resolution: int = 64,
    seed: int = 0,
    alignment: Alignment | None = None,
) -> VoxelIouScores:
    """Solid voxel IoU after the alignment of ``motion80``.

    A voxel's side is 1 / ``resolution`` of the longest side of the truth's first frame. It is inside where the winding
    number at its centre is not 0, by rays along at least two of the three axes. So overlapping closed components count
    as their union; cavities with inward normals are outside.

    Args:
        truth: T meshes.
        prediction: T meshes.
        resolution: voxels along the longest side.
        seed: of the registration.
        alignment: that of ``motion80``; None computes it.

    Raises:
        ValueError: the numbers of frames differ, or a frame has no faces.
    """
    true_frames, predicted_frames = paired_frames(truth, prediction)
    alignment = alignment or align_first_frames(true_frames[0], predicted_frames[0], seed)
    if not all(len(mesh.faces) for mesh in [*true_frames, *predicted_frames]):
        raise ValueError("voxel_iou: needs faces on both sides; clouds of points enclose nothing")
    iou = [
        _iou(
            (apply(alignment.truth, positions(true_mesh)), topology(true_mesh)),
            (apply(alignment.prediction, positions(predicted_mesh)), topology(predicted_mesh)),
            2 / resolution,
        )
        for true_mesh, predicted_mesh in zip(true_frames, predicted_frames, strict=True)
    ]
    closed = [all(_topologies_closed(frames)) for frames in (true_frames, predicted_frames)]
    return VoxelIouScores(float(np.mean(iou)), np.array(iou), *closed)


def solid_voxels(
    vertices: np.ndarray, faces: np.ndarray, lower: np.ndarray, pitch: float, shape: tuple[int, int, int]
) -> np.ndarray:
    """Voxels whose centres are inside (see ``voxel_iou``), bool of ``shape``.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        lower: (3,) corner of the grid.
        pitch: side of a voxel.
        shape: numbers of voxels along x, y, z.
    """
    grid = (vertices - lower) / pitch - JITTER
    votes = np.zeros(shape, dtype=np.int8)
    for axis in range(3):
        axes = [(axis + 1) % 3, (axis + 2) % 3, axis]
        permuted_shape = tuple(shape[k] for k in axes)
        crossings = np.zeros((permuted_shape[0], permuted_shape[1], permuted_shape[2] + 1), dtype=np.int32)
        _count_crossings(np.ascontiguousarray(grid[:, axes]), faces, crossings)
        inside = crossings.cumsum(2)[..., :-1] != 0
        votes += inside.transpose(np.argsort(axes)).astype(np.int8)
    return votes >= 2


@kernel("f8[:,::1], i8[:,::1], i4[:,:,::1]", ahead=False)
def _count_crossings(points: np.ndarray, faces: np.ndarray, crossings: np.ndarray) -> None:
    """Add the sign of each crossing of a ray along the last axis with a face, at the first voxel behind it.

    Args:
        points: (V, 3) in voxels, voxel centres at integers.
        faces: (F, 3).
        crossings: (A, B, C + 1), changed in place.
    """
    rows, columns, depth = crossings.shape[0], crossings.shape[1], crossings.shape[2] - 1
    for face in range(len(faces)):
        a, b, c = points[faces[face, 0]], points[faces[face, 1]], points[faces[face, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0.0:
            continue
        sign = 1 if area < 0 else -1  # faces are counter-clockwise from outside: a ray enters through a back face
        first_row = max(int(np.ceil(min(a[0], b[0], c[0]))), 0)
        last_row = min(int(np.floor(max(a[0], b[0], c[0]))), rows - 1)
        first_column = max(int(np.ceil(min(a[1], b[1], c[1]))), 0)
        last_column = min(int(np.floor(max(a[1], b[1], c[1]))), columns - 1)
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                wa = ((b[0] - row) * (c[1] - column) - (b[1] - column) * (c[0] - row)) / area
                wb = ((c[0] - row) * (a[1] - column) - (c[1] - column) * (a[0] - row)) / area
                wc = 1.0 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                voxel = int(np.ceil(wa * a[2] + wb * b[2] + wc * c[2]))
                crossings[row, column, min(max(voxel, 0), depth)] += sign


def open_edges(mesh: Mesh) -> int:
    """Number of boundary edges: not traversed equally often in both directions, coincident vertices welded."""
    vertices, faces = mesh.vertices.detach().cpu().numpy(), topology(mesh)
    _, label = np.unique(vertices + np.float32(0), axis=0, return_inverse=True)
    faces = label.reshape(-1)[faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    direction = np.where(edges[:, 0] < edges[:, 1], 1, -1)
    _, index = np.unique(np.sort(edges, 1), axis=0, return_inverse=True)
    return int((np.bincount(index.reshape(-1), weights=direction) != 0).sum())


def _topologies_closed(frames: list[Mesh]) -> list[bool]:
    """Whether each distinct topology of consecutive frames is closed."""
    closed = []
    for previous, mesh in zip([None, *frames], frames, strict=False):
        unchanged = (
            previous is not None
            and previous.faces.shape == mesh.faces.shape
            and bool((previous.faces == mesh.faces).all())
        )
        if not unchanged:
            closed.append(open_edges(mesh) == 0)
    return closed


def _iou(truth: tuple[np.ndarray, np.ndarray], prediction: tuple[np.ndarray, np.ndarray], pitch: float) -> float:
    both = np.concatenate([truth[0], prediction[0]])
    lower = np.floor(both.min(0) / pitch) * pitch
    size = np.ceil((both.max(0) - lower) / pitch).astype(int) + 1
    shape = (int(size[0]), int(size[1]), int(size[2]))
    true_voxels, predicted_voxels = (solid_voxels(*side, lower, pitch, shape) for side in (truth, prediction))
    union = int((true_voxels | predicted_voxels).sum())
    return float((true_voxels & predicted_voxels).sum() / union) if union else 1.0
