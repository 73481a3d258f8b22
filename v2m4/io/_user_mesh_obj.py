"""Read Wavefront OBJ with its materials and pictures as a glTF document.

Objects (``o``) become nodes and materials primitives; groups and smoothing groups are ignored. Polygons are cut into
triangle fans. Colours of materials are taken as linear, those of vertices as sRGB.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._gltf_quantize import unit_normals
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io.srgb import srgb_to_linear

logger = logging.getLogger(__name__)

WIDTHS = {"v": (3, 6), "vt": (1, 3), "vn": (3, 3)}  # least and largest number of values that are read
# Options before the name of a texture file, and how many words follow each; -o, -s and -t take up to three numbers.
PICTURE_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2}
PICTURE_OPTIONS |= {"-texres": 1, "-type": 1, "-colorspace": 1, "-o": 3, "-s": 3, "-t": 3}
_DIGITS, _BREAKS = re.compile(r"[\d/\s]+"), re.compile("/+")


@dataclass
class _FaceGroup:
    """The faces of one object and material.

    Attributes:
        name: of the object.
        material: its name, or None.
        lines: for each face line its number in the file, its text, and how many positions, texture coordinates and
            normals precede it.
    """

    name: str
    material: str | None
    lines: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)

    def corners(self, path: Path) -> np.ndarray:
        """Indices (3 F, 3) of position, texture coordinate and normal of every triangle corner; -1 for none."""
        rows = self._parse_uniform()
        return self._parse_any(path) if rows is None else rows

    def _parse_uniform(self) -> np.ndarray | None:
        """Parse all lines at once: triangles and quadrilaterals with corners of one pattern; None for other lines."""
        words = [line.split() for _, line, _ in self.lines]
        corner_counts = np.array([len(each) for each in words])
        text = " ".join(line for _, line, _ in self.lines)
        pattern = re.sub(r"\d+", "1", words[0][0])
        columns = {"1": [0], "1/1": [0, 1], "1//1": [0, 2], "1/1/1": [0, 1, 2]}.get(pattern)
        if columns is None or not {3, 4}.issuperset(corner_counts.tolist()) or not _DIGITS.fullmatch(text):
            return None
        if any(re.sub(r"\d+", "1", word) != pattern for word in set(chain.from_iterable(words))):
            return None
        numbers = np.array(_BREAKS.sub(" ", text).split(), np.int64).reshape(-1, len(columns)) - 1
        if numbers.min() < 0:
            return None
        rows = np.full((len(numbers), 3), -1)
        rows[:, columns] = numbers
        starts = np.cumsum(corner_counts) - corner_counts
        fans = [starts[:, None] + [0, 1, 2], starts[:, None] + [0, 2, 3]]
        order = np.stack(fans, 1)[np.stack([corner_counts > 2, corner_counts > 3], 1)]
        return rows[order.reshape(-1)]

    def _parse_any(self, path: Path) -> np.ndarray:
        """Parse the lines one by one, whatever they hold.

        Raises:
            GltfError: a corner is malformed.
        """
        result: list[tuple[int, int, int]] = []
        for number, line, counts in self.lines:
            try:
                corners = [_corner(word, counts) for word in line.split()]
            except ValueError as error:
                raise GltfError(f"{path}: broken OBJ, line {number}: 'f {line[:60]}' ({error})") from error
            for second, third in pairwise(corners[1:]):
                result += (corners[0], second, third)
        return np.array(result, np.int64).reshape(-1, 3)


@dataclass
class _ObjFile:
    """The parsed lines of an OBJ: attribute rows by keyword, faces by object and material, material libraries."""

    numbers: dict[str, list[list[float]]] = field(default_factory=lambda: {keyword: [] for keyword in WIDTHS})
    parts: dict[tuple[str, str | None], _FaceGroup] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)


def read_obj(path: Path) -> Document:
    """Read an OBJ file.

    Raises:
        GltfError: the file is broken, has no faces, or a material library or picture does not exist.
        OSError: it cannot be read.
    """
    obj = _parse_lines(path)
    tables = {keyword: _attribute_table(obj.numbers[keyword], keyword, path) for keyword in WIDTHS}
    scene = SceneBuilder(path)
    materials = _materials(scene, obj.libraries, path)
    groups = [(part, part.corners(path)) for part in obj.parts.values()]
    parts = [part for part, rows in groups if len(rows)]
    corners = [rows for _, rows in groups if len(rows)]
    if not parts:
        raise GltfError(f"{path}: no faces in the file")
    all_corners = np.concatenate(corners)
    for column, keyword in enumerate(WIDTHS):
        if all_corners[:, column].max() >= len(tables[keyword]):
            raise GltfError(
                f"{path}: a face has {keyword} {all_corners[:, column].max() + 1} of {len(tables[keyword])}"
            )
    tables["v"] = scene.centred(tables["v"], all_corners[:, 0])
    smooth = _smooth_normals(tables["v"], all_corners[:, 0])
    objects: dict[str, list[dict[str, Any]]] = {}
    names = _object_names(parts, corners)
    for part, rows, name in zip(parts, corners, names, strict=True):
        unique, faces = _unique_rows(rows)
        positions = tables["v"][unique[:, 0]]
        normals = smooth[unique[:, 0]]
        if (unique[:, 2] >= 0).all():
            normals = _unit_normals_or(tables["vn"][unique[:, 2]], normals)
        uvs = None
        if (unique[:, 1] >= 0).all():
            uvs = tables["vt"][unique[:, 1], :2] * (1, -1) + (0, 1)
        colors = srgb_to_linear(positions[:, 3:6].clip(0, 1)) if positions.shape[1] == 6 else None
        if part.material is not None and part.material not in materials:
            logger.warning(
                "%s: material %r is in none of the file's libraries; it is rendered white", path, part.material
            )
            materials[part.material] = scene.material(_default_material(part.material))
        attributes = {"POSITION": positions[:, :3], "NORMAL": normals, "TEXCOORD_0": uvs, "COLOR_0": colors}
        material = None if part.material is None else materials[part.material]
        objects.setdefault(name, []).append(scene.primitive(attributes, faces.reshape(-1, 3), material))
    for name, primitives in objects.items():
        scene.object(name, primitives)
    return scene.document()


def _unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique rows of integers >= -1, and (N,) the unique row of each (faster than ``np.unique`` along an axis)."""
    keys = np.zeros(len(rows), np.int64)
    for column in rows.T:
        keys = np.unique(keys * (column.max() + 2) + column + 1, return_inverse=True)[1]
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], index


def _object_names(parts: list[_FaceGroup], corners: list[np.ndarray]) -> list[str]:
    """The object name of each face group; one for all where objects share vertices, since they are connected then."""
    owner: dict[str, np.ndarray] = {}
    for part, rows in zip(parts, corners, strict=True):
        owner[part.name] = np.union1d(owner.get(part.name, np.zeros(0, np.int64)), rows[:, 0])
    every = np.concatenate(list(owner.values()))
    if len(np.unique(every)) == len(every):
        return [part.name for part in parts]
    return [parts[0].name] * len(parts)


def _parse_lines(path: Path) -> _ObjFile:
    """Parse the lines that define the surface.

    Raises:
        GltfError: one is malformed.
    """
    obj = _ObjFile()
    name, material = path.stem, None
    text = path.read_bytes().decode("utf-8", "replace").replace("\\\n", " ").replace("\\\r\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        keyword, arguments = _keyword(line)
        try:
            if keyword in WIDTHS:
                obj.numbers[keyword].append([float(word) for word in arguments.split()])
            elif keyword == "f":
                key = (name, material)
                if key not in obj.parts:
                    obj.parts[key] = _FaceGroup(name, material)
                counts = tuple(len(rows) for rows in obj.numbers.values())
                obj.parts[key].lines.append((number, arguments.partition("#")[0].strip(), counts))
            elif keyword == "o":
                name = arguments or path.stem
            elif keyword == "usemtl":
                material = arguments
            elif keyword == "mtllib":
                obj.libraries.append(arguments)
        except (ValueError, IndexError) as error:
            raise GltfError(f"{path}: broken OBJ, line {number}: {line.strip()[:60]!r} ({error})") from error
    return obj


def _keyword(line: str) -> tuple[str, str]:
    """The first word of a line, and the remaining text."""
    words = line.split(None, 1)
    return (words[0] if words else ""), (words[1].strip() if len(words) > 1 else "")


def _corner(word: str, counts: tuple[int, ...]) -> tuple[int, int, int]:
    """The three 0-based indices of ``4/2/1``, -1 for none; negative ones in the file count from the latest row.

    Raises:
        ValueError: an index is 0, not a number or out of range, or there is no vertex.
    """
    indices = [-1, -1, -1]
    for column, digits in enumerate(word.split("/")):
        if digits:
            value = int(digits)
            indices[column] = value - 1 if value > 0 else counts[column] + value
            if indices[column] < 0 or value == 0:
                raise ValueError(f"index {value}")
    if indices[0] < 0:
        raise ValueError("a corner without a vertex")
    return indices[0], indices[1], indices[2]


def _attribute_table(rows: list[list[float]], keyword: str, path: Path) -> np.ndarray:
    """Attribute rows as an array (N, C); the fourth number of a position is its weight and is dropped."""
    min_numbers, max_numbers = WIDTHS[keyword]
    if not rows:
        return np.zeros((0, min_numbers))
    width = min(len(row) for row in rows)
    if width < min_numbers:
        raise GltfError(f"{path}: broken OBJ: a {keyword} line with {width} numbers")
    width = min(width, max_numbers)
    if keyword == "v":
        width = 6 if width == 6 else 3
    table = np.array([row[:width] for row in rows])
    if keyword == "vt" and width == 1:
        table = np.concatenate([table, np.zeros_like(table)], 1)
    return table


def _smooth_normals(positions: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Vertex normals (V, 3) for corners that have none, from triangles given as corners (3 F,)."""
    return unit_normals(np.asarray(positions[:, :3], np.float32), torch.from_numpy(corners.reshape(-1, 3)))


def _unit_normals_or(normals: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Normals scaled to unit length, the fallback where the length is zero."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-6, normals / np.maximum(length, 1e-6), fallback)


def _default_material(name: str) -> dict[str, Any]:
    return {"name": name, "doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}


def _materials(scene: SceneBuilder, libraries: list[str], path: Path) -> dict[str, int]:
    """The materials of all libraries, by name."""
    materials: dict[str, dict[str, str]] = {}
    for library in libraries:
        names = [library] if (path.parent / library).is_file() else library.split()
        for name in names:
            file = path.parent / name.replace("\\", "/")
            if not file.is_file():
                raise GltfError(f"{path}: refers to the materials {name}, which are not there; put them beside it")
            materials |= _library(file)
    return {name: scene.material(_material(scene, name, entries)) for name, entries in materials.items()}


def _library(file: Path) -> dict[str, dict[str, str]]:
    """The lines of each material of an MTL file, by lower-case keyword."""
    materials: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in file.read_bytes().decode("utf-8", "replace").splitlines():
        keyword, arguments = _keyword(line)
        if keyword == "newmtl":
            current = materials.setdefault(arguments, {})
        elif keyword and not keyword.startswith("#"):
            current[keyword.lower()] = arguments
    return materials


def _material(scene: SceneBuilder, name: str, entries: dict[str, str]) -> dict[str, Any]:
    """The glTF metallic-roughness material of an MTL material."""

    def number(keyword: str, default: float) -> float:
        return _numbers(scene, entries[keyword], 1)[0] if keyword in entries else default

    material = _default_material(name)
    base = material["pbrMetallicRoughness"]
    base["metallicFactor"] = min(max(number("pm", 0.0), 0.0), 1.0)
    # A Phong lobe of exponent n corresponds to a roughness of about sqrt(2 / (n + 2)) (Walter et al. 2007).
    roughness = (2.0 / (max(number("ns", 0.0), 0.0) + 2.0)) ** 0.5
    base["roughnessFactor"] = min(max(number("pr", roughness), 0.0), 1.0)
    opacity = min(max(number("d", 1.0 - number("tr", 0.0)), 0.0), 1.0)
    color = [1.0, 1.0, 1.0]
    if "map_kd" in entries:
        base["baseColorTexture"] = {"index": scene.texture(_picture(entries["map_kd"]))}
    elif "kd" in entries:
        color = [min(max(value, 0.0), 1.0) for value in _numbers(scene, entries["kd"], 3)]
    if color != [1.0, 1.0, 1.0] or opacity < 1:
        base["baseColorFactor"] = [*color, opacity]
    if opacity < 1:
        material["alphaMode"] = "BLEND"
    if "norm" in entries:
        material["normalTexture"] = {"index": scene.texture(_picture(entries["norm"]))}
    if "map_ke" in entries:
        material["emissiveTexture"] = {"index": scene.texture(_picture(entries["map_ke"]))}
        material["emissiveFactor"] = [1.0, 1.0, 1.0]
    elif "ke" in entries:
        emission = [min(max(value, 0.0), 1.0) for value in _numbers(scene, entries["ke"], 3)]
        if any(emission):
            material["emissiveFactor"] = emission
    return material


def _numbers(scene: SceneBuilder, text: str, count: int) -> list[float]:
    """The first ``count`` numbers; a single one is repeated."""
    try:
        values = [float(word) for word in text.split()[:count]]
    except ValueError as error:
        raise GltfError(f"{scene.path}: a material has {text!r} where a number should be") from error
    if not values:
        raise GltfError(f"{scene.path}: a material has a line without its number")
    return (values * count)[:count]


def _picture(text: str) -> str:
    """The file name in a line such as ``-s 1 1 1 -bm 0.5 skin.png``."""
    words = text.split()
    while words and words[0] in PICTURE_OPTIONS:
        option, words = words[0], words[1:]
        for _ in range(PICTURE_OPTIONS[option]):
            if option in ("-o", "-s", "-t") and words and not words[0].lstrip("+-").replace(".", "").isdigit():
                break
            words = words[1:]
    return " ".join(words)
