"""Pictures of meshes: colour, mask, normals, depth and positions, batched over cameras and differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from v2m4 import render as ops
from v2m4.camera import Camera
from v2m4.geometry import vertex_normals
from v2m4.mesh import Mesh

CHANNELS = ("color", "mask", "normal", "depth", "position")
_SIZES = {"color": 3, "normal": 3, "depth": 1, "position": 3}


@dataclass(frozen=True)
class Rendering:
    """What B cameras see.

    Attributes:
        parts: the channels that were asked for, and the mask, by name; each is an attribute, too.
        triangle: the triangle seen at each pixel's centre, -1 where none, (B, H, W) int32.
    """

    parts: dict[str, Tensor]
    triangle: Tensor

    def _part(self, name: str) -> Tensor:
        if name not in self.parts:
            raise ValueError(f"Rendering.{name}: not rendered; ask for it in channels (there are {list(self.parts)})")
        return self.parts[name]

    @property
    def mask(self) -> Tensor:
        """Coverage in [0, 1], (B, H, W, 1); always there."""
        return self._part("mask")

    @property
    def color(self) -> Tensor:
        """(B, H, W, 3), over the background; without one, zero outside and weighted by the mask at the outline."""
        return self._part("color")

    @property
    def normal(self) -> Tensor:
        """Camera-space unit normals (x right, y down, z forward), zero outside, (B, H, W, 3)."""
        return self._part("normal")

    @property
    def depth(self) -> Tensor:
        """Camera z, zero outside, never antialiased, (B, H, W, 1)."""
        return self._part("depth")

    @property
    def position(self) -> Tensor:
        """World-space positions, zero outside, never antialiased, (B, H, W, 3)."""
        return self._part("position")


def render(
    vertices: Tensor,  # (V, 3) or (B, V, 3)
    faces: Tensor,  # (F, 3)
    camera: Camera | Sequence[Camera],
    size: int | tuple[int, int],
    *,
    colors: Tensor | None = None,  # (V, 3) or (B, V, 3)
    uvs: Tensor | None = None,  # (U, 2)
    uv_faces: Tensor | None = None,  # (F, 3)
    texture: Tensor | None = None,  # (Ht, Wt, 3)
    channels: Sequence[str] = CHANNELS,
    background: float | Sequence[float] | Tensor | None = None,
    antialias: bool = True,
) -> Rendering:
    """Render a mesh, or one mesh per camera.

    Colour, mask and normals are antialiased together. Channels that are not asked for cost nothing.

    Args:
        vertices: World space; a batch goes with a batch of as many cameras, or with one camera.
        faces: Counter-clockwise seen from outside.
        camera: One camera or B; as a list of single cameras, each may have its own window, and there are B meshes.
        size: Pixels of a square picture, or (height, width).
        colors: Vertex colours; white where neither these nor a texture are given.
        uvs: Texture coordinates, indexed by `uv_faces`, or per vertex without it.
        uv_faces: Triangles of `uvs`.
        texture: Row 0 at v = 0; goes before `colors`.
        channels: Any of "color", "mask", "normal", "depth", "position".
        background: A gray value, an RGB colour or a picture (H, W, 3) or (B, H, W, 3) to lay the colour over.
        antialias: Smooth outlines and let gradients move them.

    Raises:
        ValueError: For unknown channels, or shapes that do not fit.
    """
    unknown = sorted(set(channels) - set(CHANNELS))
    if unknown:
        raise ValueError(f"channels: {', '.join(unknown)} unknown; choose from {', '.join(CHANNELS)}")
    if texture is not None and uvs is None:
        raise ValueError("texture needs uvs")
    resolution = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if isinstance(camera, Camera):
        clip = camera.clip(vertices)
    else:
        clip = torch.cat([each.clip(part) for each, part in zip(camera, vertices, strict=True)])
        camera = replace(camera[0], extrinsics=torch.cat([each.extrinsics for each in camera]))
    tri = _triangles(faces)
    wanted = [name for name in ("color", "normal", "depth", "position") if name in channels]
    textured = None
    if texture is not None and uvs is not None and "color" in wanted:
        textured = (texture[None], uvs[None], tri if uv_faces is None else _triangles(uv_faces))

    attributes = []
    for name in wanted:
        if name == "color" and textured is None:
            attributes.append(torch.ones_like(vertices) if colors is None else colors)
        elif name == "normal":
            rotation = camera.extrinsics[:, :3, :3]
            attributes.append(vertex_normals(vertices, faces) @ rotation.transpose(1, 2))
        elif name == "depth":
            attributes.append(camera.to_camera_space(vertices)[..., 2:])
        elif name == "position":
            attributes.append(vertices)
    in_attributes = wanted if textured is None else [name for name in wanted if name != "color"]
    picture, rast = ops.render_attributes(
        clip,
        tri,
        _joined(attributes, len(clip)),
        resolution,
        textured=textured,
        antialias=sum(_SIZES[name] for name in in_attributes if name in ("color", "normal")) if antialias else False,
        unit=_SIZES["color"] * ("color" in in_attributes) if "normal" in wanted else None,
    )
    sizes = [1, *(_SIZES[name] for name in wanted)]
    parts = dict(zip(["mask", *wanted], picture.split(sizes, -1), strict=True))
    if "color" in parts and background is not None:
        parts["color"] = parts["color"] + (1 - parts["mask"]) * torch.as_tensor(background).to(parts["color"])
    return Rendering(parts, rast[..., 3].detach().to(torch.int32) - 1)


def render_mesh(mesh: Mesh, camera: Camera, size: int | tuple[int, int], **options) -> Rendering:
    """Render a mesh with its texture, else with its vertex colours; options as in `render`."""
    look = {"texture": mesh.texture, "uvs": mesh.uvs, "uv_faces": mesh.uv_faces, "colors": mesh.colors}
    if mesh.uvs is None:
        look.pop("texture")
    return render(mesh.vertices, mesh.faces, camera, size, **{**look, **options})


_as_int32 = WeakIdKeyDictionary()


def _triangles(faces: Tensor) -> Tensor:
    """Faces as the operations want them: the same tensor at every call, for `cuda.py` studies each list once."""
    if faces.dtype == torch.int32 or faces.is_inference():
        return faces.to(torch.int32)
    version, tri = _as_int32.get(faces, (-1, faces))
    if version != faces._version:
        tri = faces.to(torch.int32)
        _as_int32[faces] = faces._version, tri
    return tri


def _joined(attributes: list[Tensor], batch: int) -> Tensor | None:
    """Attributes (V, C) or (B, V, C) side by side: (1 or B, V, C)."""
    if not attributes:
        return None
    batched = [value if value.ndim == 3 else value[None] for value in attributes]
    if any(len(value) > 1 for value in batched):
        batched = [value.expand(batch, -1, -1) for value in batched]
    return torch.cat(batched, -1) if len(batched) > 1 else batched[0]
