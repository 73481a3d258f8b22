"""Triangle meshes: a single mesh, a generator's asset, an asset posed in camera space, an animated sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from v2m4.camera import Orbit
from v2m4.geometry import vertex_normals


def _check(name: str, value: Tensor | None, shape: tuple[int | None, ...], integer: bool = False) -> None:
    """Raise ValueError unless ``value`` has the shape (None matches any length) and the kind of dtype expected."""
    if value is None:
        return
    fits = len(shape) == value.ndim and all(
        want is None or want == got for want, got in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(value.shape)}")
    if integer == value.dtype.is_floating_point:
        raise ValueError(f"{name}: expected {'an integer' if integer else 'a float'} dtype, got {value.dtype}")


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; UVs have their own faces, so that vertices stay welded along texture seams.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int64 indices into ``vertices``, counter-clockwise seen from outside.
        uvs: (U, 2) float32, row 0 of the texture at v = 0; indexed by ``uv_faces``, or per vertex (U = V) without it.
        uv_faces: (F, 3) int64 indices into ``uvs``.
        texture: (H, W, 3) float32 sRGB in [0, 1].
        colors: (V, 3) float32 sRGB in [0, 1].
        color_confidence: (V,) float32 in [0, 1], confidence in the colours around each vertex, 0 where they are made up
            (the picture mirrored on the back of an object); None for 1 everywhere.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None = None
    uv_faces: Tensor | None = None
    texture: Tensor | None = None
    colors: Tensor | None = None
    color_confidence: Tensor | None = None

    def __post_init__(self) -> None:
        _check("vertices", self.vertices, (None, 3))
        _check("faces", self.faces, (None, 3), integer=True)
        _check("uvs", self.uvs, (None, 2))
        _check("uv_faces", self.uv_faces, (len(self.faces), 3), integer=True)
        _check("texture", self.texture, (None, None, 3))
        _check("colors", self.colors, (len(self.vertices), 3))
        _check("color_confidence", self.color_confidence, (len(self.vertices),))
        if self.uvs is not None and self.uv_faces is None and len(self.uvs) != len(self.vertices):
            raise ValueError(f"uvs: {len(self.uvs)} for {len(self.vertices)} vertices need uv_faces")

    def to(self, device: torch.device | str) -> Mesh:
        """The same mesh with every tensor on ``device``."""
        return _map_tensors(self, lambda tensor: tensor.to(device))

    def with_vertices(self, vertices: Tensor) -> Mesh:
        """The same mesh at other vertex positions (V, 3)."""
        return replace(self, vertices=vertices)

    def transformed(self, matrix: Tensor) -> Mesh:
        """Apply an affine map to the vertices; the winding of the faces is reversed for a reflection.

        Args:
            matrix: (4, 4), for column vectors.
        """
        matrix = matrix.to(self.vertices)
        vertices = self.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        if torch.linalg.det(matrix[:3, :3]) > 0:
            return replace(self, vertices=vertices)
        uv_faces = None if self.uv_faces is None else self.uv_faces.flip(1)
        return replace(self, vertices=vertices, faces=self.faces.flip(1), uv_faces=uv_faces)

    def normals(self) -> Tensor:
        """Area-weighted unit vertex normals (V, 3)."""
        return vertex_normals(self.vertices, self.faces)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper corner of the bounding box, (3,) each.

        Raises:
            ValueError: the mesh has no vertices.
        """
        if len(self.vertices) == 0:
            raise ValueError("bounds: the mesh has no vertices")
        return self.vertices.amin(0), self.vertices.amax(0)

    def normalizing(self, side: float = 1.0) -> Tensor:
        """Similarity (4, 4) that centres the bounding box at the origin and scales its longest side to ``side``."""
        lower, upper = self.bounds()
        scale = side / (upper - lower).max().clamp_min(torch.finfo(self.vertices.dtype).tiny)
        matrix = torch.eye(4, dtype=self.vertices.dtype, device=self.vertices.device)
        matrix[:3, :3] *= scale
        matrix[:3, 3] = -scale * (lower + upper) / 2
        return matrix

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(value.nbytes for value in self.__dict__.values() if isinstance(value, Tensor))

    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors that are not None as arrays, by field name; ``Mesh.from_arrays`` is the exact inverse."""
        return {name: value.detach().cpu().numpy() for name, value in self.__dict__.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Mesh:
        """The inverse of ``arrays``; other names are ignored."""
        names = [name for name in cls.__dataclass_fields__ if name in arrays]
        return cls(**{name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names})


@dataclass(frozen=True)
class Asset:
    """A generator's result for one frame: a mesh in canonical pose (DESIGN section 2) and, if known, its camera.

    Attributes:
        mesh: closed, textured, with vertex colours and the confidence in them, in the cube [-0.5, 0.5]^3 facing +z.
        hint: the generator's estimate of the frame's camera (batch of 1), or None.
    """

    mesh: Mesh
    hint: Orbit | None = None


@dataclass(frozen=True)
class PosedAsset:
    """An asset in the video camera's space (stage 2): rendered with the identity camera it aligns with its frame.

    ``mesh.vertices = scale * (extrinsics applied to the canonical vertices)``. A scaling about the camera's centre
    does not change the picture; stage 2 uses it to place the objects of all frames at one depth.

    Attributes:
        mesh: in camera space (OpenCV axes: x right, y down, z forward).
        extrinsics: (4, 4) rigid, from the canonical pose to the estimated camera.
        scale: the scaling about the camera's centre, applied after the extrinsics.
        score: similarity of render and frame, at most 1.
    """

    mesh: Mesh
    extrinsics: Tensor
    scale: float = 1.0
    score: float = 0.0

    def __post_init__(self) -> None:
        _check("extrinsics", self.extrinsics, (4, 4))

    def matrix(self) -> Tensor:
        """The (4, 4) similarity from the canonical pose to the video camera's space."""
        scaling = torch.diag(self.extrinsics.new_tensor([self.scale, self.scale, self.scale, 1.0]))
        return scaling @ self.extrinsics


@dataclass(frozen=True)
class MeshSequence:
    """An animated mesh of constant topology.

    Attributes:
        vertices: (T, V, 3) float32, the poses.
        mesh: topology, UVs and texture; its vertices are the rest pose.
        times: (T,) float64, seconds or frame numbers, ascending.
    """

    vertices: Tensor
    mesh: Mesh
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        _check("vertices", self.vertices, (None, len(self.mesh.vertices), 3))
        if len(self.times) != len(self.vertices):
            raise ValueError(f"times: {len(self.times)} for {len(self.vertices)} poses")

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: int) -> Mesh:
        return self.mesh.with_vertices(self.vertices[index])

    def sampled(self, times: Sequence[float] | np.ndarray) -> MeshSequence:
        """Resample the sequence at other times: linear interpolation, constant extrapolation.

        At its own times the result has the same poses, not copies of them.
        """
        asked = np.asarray(times, dtype=np.float64)
        if np.array_equal(asked, self.times):
            return replace(self, times=asked)
        position = np.interp(asked, self.times, np.arange(len(self.times)))
        lower = np.clip(np.floor(position).astype(np.int64), 0, max(len(self) - 2, 0))
        upper = np.minimum(lower + 1, len(self) - 1)
        vertices = self.vertices.new_empty((len(asked), *self.vertices.shape[1:]))
        for row, low, high, weight in zip(vertices, lower.tolist(), upper.tolist(), position - lower, strict=True):
            row.copy_(torch.lerp(self.vertices[low], self.vertices[high], float(weight)))
        return replace(self, vertices=vertices, times=asked)


def _map_tensors(value: Any, function: Any) -> Any:
    """Apply ``function`` to every tensor field of a dataclass."""
    changed = {name: function(item) for name, item in value.__dict__.items() if isinstance(item, Tensor)}
    return replace(value, **changed)
