"""A small GLB parser that shares no code with the program's own, to judge what the program writes."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from scipy.spatial.transform import Rotation

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Primitive:
    """A triangle primitive in the scene's world.

    Attributes:
        positions: (V, 3) float64.
        faces: (F, 3).
        albedo: (F, 3) linear base colour of each face, at its middle.
    """

    positions: np.ndarray
    faces: np.ndarray
    albedo: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Area of each face, (F,)."""
        a, b, c = (self.positions[self.faces[:, corner]] for corner in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


@dataclass(frozen=True)
class Glb:
    """The JSON and the binary chunk of a GLB."""

    json: dict[str, Any]
    data: bytes

    @classmethod
    def read(cls, path: Path) -> Glb:
        """Read a file of two chunks."""
        data = path.read_bytes()
        length = struct.unpack_from("<I", data, 12)[0]
        return cls(json.loads(data[20 : 20 + length]), data[28 + length :])

    def values(self, index: int) -> np.ndarray:
        """The values (count, width) of an accessor without sparse values; normalised integers become floats."""
        accessor = self.json["accessors"][index]
        kind, width = np.dtype(TYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
        if "bufferView" not in accessor:
            return np.zeros((accessor["count"], width), kind)
        view = self.json["bufferViews"][accessor["bufferView"]]
        stride = view.get("byteStride", kind.itemsize * width)
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        shape = (accessor["count"], width)
        values = np.ndarray(shape, kind, self.data, start, (stride, kind.itemsize))
        return values / np.iinfo(kind).max if accessor.get("normalized") else values

    def weight_times(self) -> np.ndarray | None:
        """The key times (T,) of the first channel of morph weights; None where there is none."""
        for clip in self.json.get("animations", []):
            for channel in clip["channels"]:
                if channel["target"]["path"] == "weights":
                    return self.values(clip["samplers"][channel["sampler"]]["input"])[:, 0]
        return None

    def animated_joints(self) -> set[int]:
        """The joints of skins that the first animation rotates."""
        joints = {joint for skin in self.json.get("skins", []) for joint in skin["joints"]}
        channels = [channel for clip in self.json.get("animations", [])[:1] for channel in clip["channels"]]
        return joints & {each["target"].get("node") for each in channels if each["target"]["path"] == "rotation"}

    def primitives(self) -> Iterator[Primitive]:
        """The triangle primitives of the scene, morph targets not applied."""
        roots = self.json["scenes"][self.json.get("scene", 0)].get("nodes", [])
        todo = [(node, np.eye(4)) for node in roots]
        while todo:
            index, parent = todo.pop()
            node = self.json["nodes"][index]
            matrix = parent @ _local_matrix(node)
            todo += [(child, matrix) for child in node.get("children", [])]
            for primitive in self.json["meshes"][node["mesh"]]["primitives"] if "mesh" in node else []:
                if primitive.get("mode", 4) == 4:
                    yield self._primitive(primitive, matrix)

    def _primitive(self, primitive: dict[str, Any], matrix: np.ndarray) -> Primitive:
        attributes = primitive["attributes"]
        positions = np.asarray(self.values(attributes["POSITION"]), np.float64)
        indices = self.values(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(positions))
        faces = indices.astype(np.int64).reshape(-1, 3)
        material = self.json["materials"][primitive["material"]] if "material" in primitive else {}
        base = material.get("pbrMetallicRoughness", {})
        albedo = np.tile(np.asarray(base.get("baseColorFactor", [1, 1, 1, 1])[:3], np.float64), (len(faces), 1))
        if "COLOR_0" in attributes:
            albedo *= self.values(attributes["COLOR_0"])[faces, :3].mean(1)
        if "baseColorTexture" in base:
            uvs = self.values(attributes[f"TEXCOORD_{base['baseColorTexture'].get('texCoord', 0)}"])
            albedo *= self._sampled(base["baseColorTexture"]["index"], uvs[faces].mean(1))
        return Primitive(positions @ matrix[:3, :3].T + matrix[:3, 3], faces, albedo)

    def _sampled(self, texture: int, uvs: np.ndarray) -> np.ndarray:
        """Linear colours (N, 3) of a texture's nearest texels at coordinates (N, 2)."""
        image = self.json["images"][self.json["textures"][texture]["source"]]
        view = self.json["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        picture = np.atleast_3d(iio.imread(io.BytesIO(self.data[start : start + view["byteLength"]])))
        height, width = picture.shape[:2]
        columns = np.clip((uvs[:, 0] % 1) * width, 0, width - 1).astype(int)
        rows = np.clip((uvs[:, 1] % 1) * height, 0, height - 1).astype(int)
        texels = np.broadcast_to(picture[rows, columns][:, :3], (len(uvs), 3)) / 255
        return np.where(texels <= 0.04045, texels / 12.92, ((texels + 0.055) / 1.055) ** 2.4)

    def mean_albedo(self) -> np.ndarray:
        """Mean base colour (3,) over the surface of the scene, sRGB in [0, 1]."""
        parts = list(self.primitives())
        areas = np.concatenate([part.areas for part in parts])
        linear = np.clip(np.concatenate([part.albedo for part in parts]), 0, 1)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return (srgb * areas[:, None]).sum(0) / max(areas.sum(), 1e-30)


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    """The transform (4, 4) of a node."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix() * node.get("scale", [1, 1, 1])
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix
