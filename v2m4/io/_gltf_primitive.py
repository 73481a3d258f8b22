"""Read the triangle primitives of a glTF mesh: their faces, colours and texture coordinates."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from v2m4.io._gltf_document import Document
from v2m4.io._gltf_error import GltfError
from v2m4.io._gltf_material import WHITE, BaseColor, base_color
from v2m4.io._gltf_repair import TRIANGLE_FAN, TRIANGLE_STRIP, TRIANGLES, triangles

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrimitiveMesh:
    """One triangle primitive.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64.
        colors: (V, 3) linear, COLOR_0 times the base colour factor; None without either.
        uvs: (V, 2) float32, KHR_texture_transform applied; None without a texture.
        texture_key: (texture index, base colour factor, wrap modes), which identify the texture; None without one.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray | None = None
    texture_key: tuple[int, tuple[float, ...], tuple[int, int]] | None = None

    def without_texture(self, texture: int) -> PrimitiveMesh:
        """The primitive in its uniform or vertex colours, where it has this texture."""
        if self.texture_key is None or self.texture_key[0] != texture:
            return self
        factor = np.broadcast_to(np.array(self.texture_key[1], np.float32), self.vertices.shape)
        return replace(self, uvs=None, texture_key=None, colors=factor if self.colors is None else self.colors)

    def with_positions(self, vertices: np.ndarray, mirrored: bool) -> PrimitiveMesh:
        """The primitive at other positions (V, 3); ``mirrored`` reverses the orientation of its faces."""
        return replace(self, vertices=vertices, faces=self.faces[:, ::-1].copy() if mirrored else self.faces)


def triangle_primitives(document: Document, mesh: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The triangle primitives of a mesh; points and lines are skipped, and primitives without positions."""
    for primitive in mesh["primitives"]:
        if "POSITION" not in primitive["attributes"]:
            continue
        if primitive.get("mode", TRIANGLES) not in (TRIANGLES, TRIANGLE_STRIP, TRIANGLE_FAN):
            logger.info("%s: points or lines in mesh %r are ignored", document.path, mesh.get("name", ""))
            continue
        yield primitive


def read_primitive(document: Document, primitive: dict[str, Any]) -> PrimitiveMesh:
    """Read a primitive, in mesh space.

    Raises:
        GltfError: an index is out of range.
    """
    attributes = primitive["attributes"]
    vertices = document.accessor(attributes["POSITION"]).astype(np.float64)
    if "indices" in primitive:
        indices = document.accessor(primitive["indices"])[:, 0].astype(np.int64)
    else:
        indices = np.arange(len(vertices))
    if len(indices) and indices.max() >= len(vertices):
        raise GltfError(f"{document.path}: index {indices.max()} of {len(vertices)} vertices")
    faces = triangles(indices, primitive.get("mode", TRIANGLES))
    index = primitive.get("material")
    base = BaseColor() if index is None else base_color(document, document.items("materials")[index])
    factor, colors = base.factor, None
    if "COLOR_0" in attributes:
        colors = document.accessor(attributes["COLOR_0"])[:, :3] * np.array(factor, np.float32)
        if len(colors) and np.ptp(colors, axis=0).max() == 0:
            factor = tuple(colors[0].tolist())
    elif factor != WHITE:
        colors = np.full((len(vertices), 3), factor, np.float32)
    part = PrimitiveMesh(vertices, faces, colors)
    channel = next((number for number in base.channels if f"TEXCOORD_{number}" in attributes), None)
    if base.texture is None or channel is None:
        return part
    uvs = document.accessor(attributes[f"TEXCOORD_{channel}"])[:, :2].astype(np.float32)
    uvs = _transformed_uvs(uvs, base.transform or {})
    return replace(part, uvs=uvs, texture_key=(base.texture, factor, base.wrap))


def _transformed_uvs(uvs: np.ndarray, transform: dict[str, Any]) -> np.ndarray:
    """Texture coordinates under KHR_texture_transform: scale, then rotation, then offset.

    A positive angle takes u towards -v, as readers agree; the extension's own sample code has it reversed.
    """
    angle = transform.get("rotation", 0.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    scaled = uvs * np.array(transform.get("scale", (1.0, 1.0)), np.float32)
    rotated = scaled @ np.array([[cosine, sine], [-sine, cosine]], dtype=np.float32).T
    return rotated + np.array(transform.get("offset", (0.0, 0.0)), np.float32)
