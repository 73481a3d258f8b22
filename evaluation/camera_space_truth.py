"""A ground truth in the space of the video's camera, and assets placed by it; for ``evaluation.ablation``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camera_search.stage import pose_asset, surface_center
from evaluation.surface_points import BarycentricPoints, nearest_neighbours, positions, sample_surface
from v2m4.camera import DEFAULT_FOV
from v2m4.config import Config
from v2m4.decimate import collapse_edges
from v2m4.ground_truth import GroundTruth
from v2m4.mesh import Asset, Mesh, MeshSequence, PosedAsset
from v2m4.workspace import digest

BINDING_POINTS = 400_000  # samples of the true surface; a vertex of a decimated mesh is bound to the nearest


@dataclass(frozen=True)
class CameraSpaceTruth:
    """A ground truth in the space of the video's camera.

    Attributes:
        sequence: poses (T, V, 3) in camera space, times in frame numbers.
        extrinsics: (4, 4), the truth's world to camera space.
        fov: vertical field of view of its camera, radians.
    """

    sequence: MeshSequence
    extrinsics: Tensor
    fov: float = DEFAULT_FOV

    @classmethod
    def load(cls, path: Path) -> CameraSpaceTruth:
        """Read a ground truth.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no ground truth.
        """
        stored = GroundTruth.load(path)
        extrinsics = stored.orbit().camera().extrinsics[0]
        sequence = stored.sequence()
        camera_vertices = sequence.vertices @ extrinsics[:3, :3].T + extrinsics[:3, 3]
        mesh = sequence.mesh.with_vertices(camera_vertices[0])
        times = np.arange(len(camera_vertices), dtype=np.float64)
        return cls(MeshSequence(camera_vertices, mesh, times), extrinsics, float(stored.fov))

    def decimated_mesh(self, frame: int, config: Config) -> tuple[Mesh, BarycentricPoints]:
        """The frame's mesh as if generated, and each vertex's point on the true surface.

        It is decimated to ``max_faces`` faces for this frame alone, its vertices and faces in random order.
        """
        mesh = self.sequence[frame]
        vertices, faces = mesh.vertices, mesh.faces
        surface_points = BarycentricPoints(np.arange(len(vertices))[:, None], np.ones((len(vertices), 1)))
        if len(faces) > config.max_faces:
            points, corners = collapse_edges(vertices.numpy(), faces.numpy(), config.max_faces)
            vertices, faces = torch.from_numpy(points).float(), torch.from_numpy(corners.astype(np.int64))
            dense_points = sample_surface(mesh, BINDING_POINTS, np.random.default_rng(0))
            _, closest = nearest_neighbours(points, dense_points.interpolate(positions(mesh)))
            surface_points = BarycentricPoints(dense_points.corners[closest], dense_points.weights[closest])
        order, face_order = (self._permutation(count, frame, config.seed) for count in (len(vertices), len(faces)))
        surface_points = BarycentricPoints(surface_points.corners[order], surface_points.weights[order])
        colors = (
            None if mesh.colors is None else torch.from_numpy(surface_points.interpolate(mesh.colors.numpy())).float()
        )
        return Mesh(vertices[order], torch.argsort(order)[faces][face_order], colors=colors), surface_points

    def _permutation(self, count: int, frame: int, seed: int) -> Tensor:
        """A random permutation (count,), seeded by the frame and the seed."""
        generator = torch.Generator().manual_seed(int(digest("order", seed, frame, count)[:12], 16))
        return torch.randperm(count, generator=generator)

    def posed(self, frame: int, config: Config) -> PosedAsset:
        """The frame's decimated mesh under the true camera."""
        return PosedAsset(self.decimated_mesh(frame, config)[0], self.extrinsics, 1.0, 1.0)

    def depth(self, frame: int) -> float:
        """The depth of the surface centre of the frame."""
        return float(surface_center(self.sequence[frame])[2])


def moved_to_depth(posed: PosedAsset, depth: float) -> PosedAsset:
    """The asset scaled about the camera's centre such that its surface centre is at ``depth``."""
    factor = depth / float(surface_center(posed.mesh)[2])
    return replace(posed, mesh=posed.mesh.with_vertices(posed.mesh.vertices * factor), scale=posed.scale * factor)


def posed_by_hint(asset: Asset, depth: float) -> PosedAsset:
    """An asset under its generator's camera, at a depth.

    Raises:
        ValueError: the generator gives no camera.
    """
    if asset.hint is None:
        raise ValueError("--given depth: this generator knows no camera of its own; use --model Inflate")
    return moved_to_depth(pose_asset(asset.mesh, asset.hint.camera().extrinsics[0], 1.0, 1.0), depth)
