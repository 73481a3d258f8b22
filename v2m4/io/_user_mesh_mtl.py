"""Read MTL material libraries, and turn their materials into glTF's metallic-roughness ones."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2m4.io._gltf_images import decode_image
from v2m4.io._text_encoding import DecodedText, decode_text, printable, split_lines
from v2m4.io._texture_picture import decode_picture
from v2m4.io._user_mesh_scene import SceneBuilder

logger = logging.getLogger(__name__)

# Options before the name of a texture file, and how many words follow each; -o, -s and -t take up to three numbers.
PICTURE_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2}
PICTURE_OPTIONS |= {"-texres": 1, "-type": 1, "-colorspace": 1, "-o": 3, "-s": 3, "-t": 3}
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MASK_SHARE = 0.9  # of a texture's texels that are wholly opaque or transparent: then its alpha is a mask


@dataclass
class MtlMaterial:
    """The lines of one material.

    Attributes:
        name: as decoded.
        raw: the bytes of its name in the file.
        folder: that of the library, where paths of pictures begin.
        tr_is_opacity: the library is of a program (MeshLab) that writes the opacity as ``Tr``.
        lines: arguments by lower-case keyword.
    """

    name: str
    raw: bytes
    folder: Path
    tr_is_opacity: bool
    lines: dict[str, str] = field(default_factory=dict)

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        """The first ``count`` finite numbers of a line, a single one repeated; None where there are none."""
        values: list[float] = []
        for word in self.lines.get(keyword, "").split():
            try:
                values.append(float(word))
            except ValueError:
                if values:
                    break
        values = values[:count]
        return (values * count)[:count] if values and all(map(math.isfinite, values)) else None

    def number(self, keyword: str, default: float) -> float:
        """The first number of a line."""
        values = self.numbers(keyword, 1)
        return default if values is None else values[0]

    def opacity(self) -> float:
        """Opacity in [0, 1] by ``d`` or, without one, by ``Tr``.

        ``Tr`` is 1 - d to most programs and d itself to others (MeshLab, 3ds Max, IfcOpenShell): a ``Tr`` by which
        nothing would be left to see is taken in its other sense, and so is a ``d 0`` beside ``Tr 0``.
        """
        dissolve, transparency = (self.numbers(keyword, 1) for keyword in ("d", "tr"))
        tr = None if transparency is None else min(max(transparency[0], 0.0), 1.0)
        if dissolve is not None:
            d = min(max(dissolve[0], 0.0), 1.0)
            return 1.0 if d == 0 and tr == 0 else d
        if tr is None:
            return 1.0
        return (tr if self.tr_is_opacity else 1.0 - tr) or 1.0


@dataclass(frozen=True)
class PictureReference:
    """A texture's line: the file's name and how it is laid on.

    Attributes:
        name: the file, as the line has it.
        scale: of texture coordinates, along u and v.
        offset: added after scaling.
        clamp: the picture is not repeated.
    """

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False

    def transform(self) -> dict[str, Any] | None:
        """KHR_texture_transform, whose v runs downwards, or None for none."""
        if self.scale == (1.0, 1.0) and self.offset == (0.0, 0.0):
            return None
        return {"scale": list(self.scale), "offset": [self.offset[0], 1.0 - self.scale[1] - self.offset[1]]}


def parse_picture(text: str) -> PictureReference:
    """Parse what follows ``map_Kd``, such as ``-s 2 2 1 -bm 0.5 my skin.png``."""
    values: dict[str, list[str]] = {}
    while (match := re.match(r"(-\w+)\s+", text)) and match[1].lower() in PICTURE_OPTIONS:
        option, text = match[1].lower(), text[match.end() :]
        values[option] = []
        for _ in range(PICTURE_OPTIONS[option]):
            word = re.match(r"(\S+)\s+", text)
            if word is None or (
                option in ("-o", "-s", "-t") and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word[1])
            ):
                break
            values[option].append(word[1])
            text = text[word.end() :]
    scale_u, scale_v = ([float(word) for word in values.get("-s", [])] + [1.0, 1.0])[:2]
    offset_u, offset_v = ([float(word) for word in values.get("-o", [])] + [0.0, 0.0])[:2]
    if not all(map(math.isfinite, (scale_u, scale_v, offset_u, offset_v))):
        scale_u, scale_v, offset_u, offset_v = 1.0, 1.0, 0.0, 0.0
    clamp = values.get("-clamp", [""])[:1] == ["on"]
    return PictureReference(text.strip(), (scale_u, scale_v), (offset_u, offset_v), clamp)


def read_library(file: Path, scene: SceneBuilder) -> list[MtlMaterial]:
    """Read the materials of an MTL file, its encoding chosen so that the pictures that it names are found.

    Raises:
        OSError: it cannot be read.
    """
    folder = file.parent
    decoded = decode_text(file.read_bytes(), lambda text: _finds_pictures(text, scene, folder))
    materials: list[MtlMaterial] = []
    tr_is_opacity = "meshlab" in decoded.text[:1000].lower()
    for line in split_lines(decoded.text):
        keyword, _, arguments = line.strip().replace("\t", " ").partition(" ")
        keyword, arguments = keyword.lower(), arguments.strip()
        if keyword == "newmtl":
            materials.append(_new_material(arguments, decoded, folder, tr_is_opacity))
        elif materials and arguments and not keyword.startswith("#"):
            materials[-1].lines[keyword] = arguments
    return materials


def _new_material(name: str, decoded: DecodedText, folder: Path, tr_is_opacity: bool) -> MtlMaterial:
    return MtlMaterial(name, decoded.raw(name), folder, tr_is_opacity)


def _finds_pictures(text: str, scene: SceneBuilder, folder: Path) -> bool:
    """Whether a picture with letters beyond ASCII in its name is found under this decoding of a library."""
    lines = re.findall(r"(?im)^\s*(?:map_\w+|bump|norm|disp|decal|refl)\s+(.+?)\s*$", text)
    names = {parse_picture(line).name for line in lines if not line.isascii()}
    return any(scene.find(name, folder) is not None for name in names)


def default_material(name: str) -> dict[str, Any]:
    """A glTF material: white, matte, seen from both sides."""
    base = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {"name": printable(name), "doubleSided": True, "pbrMetallicRoughness": base}


def gltf_material(scene: SceneBuilder, mtl: MtlMaterial, textured: bool, opacity: float) -> dict[str, Any]:
    """The glTF metallic-roughness material of an MTL material.

    Args:
        scene: gets the pictures.
        mtl: the material.
        textured: the surface has texture coordinates; without them pictures are left out.
        opacity: 0 to 1.
    """
    material = default_material(mtl.name)
    base = material["pbrMetallicRoughness"]
    base["metallicFactor"] = min(max(mtl.number("pm", 0.0), 0.0), 1.0)
    # A Phong lobe of exponent n corresponds to a roughness of about sqrt(2 / (n + 2)) (Walter et al. 2007).
    roughness = (2.0 / (max(mtl.number("ns", 0.0), 0.0) + 2.0)) ** 0.5
    base["roughnessFactor"] = min(max(mtl.number("pr", roughness), 0.0), 1.0)
    texture, alpha_mode = _base_color(scene, mtl) if textured else (None, None)
    color = [1.0, 1.0, 1.0]
    if texture is not None:
        base["baseColorTexture"] = texture
    else:
        color = [min(max(value, 0.0), 1.0) for value in mtl.numbers("kd", 3) or color]
        if not any(color) and "map_kd" in mtl.lines:  # black under a picture is not meant to be seen
            color = [1.0, 1.0, 1.0]
    if color != [1.0, 1.0, 1.0] or opacity < 1:
        base["baseColorFactor"] = [*color, opacity]
    if opacity < 1:
        material["alphaMode"] = "BLEND"
    elif alpha_mode is not None:
        material["alphaMode"] = alpha_mode
    normal = _normal_map(scene, mtl) if textured else None
    if normal is not None:
        material["normalTexture"] = normal
    emission = _texture(scene, mtl, "map_ke") if textured and "map_ke" in mtl.lines else None
    factor = [1.0, 1.0, 1.0] if emission else [min(max(value, 0.0), 1.0) for value in mtl.numbers("ke", 3) or [0.0] * 3]
    if emission:
        material["emissiveTexture"] = emission
    if any(factor):
        material["emissiveFactor"] = factor
    return material


def _texture(scene: SceneBuilder, mtl: MtlMaterial, keyword: str) -> dict[str, Any] | None:
    """A glTF reference to the texture of a line, or None where its picture is not to be had."""
    picture = parse_picture(mtl.lines[keyword])
    index = scene.texture(picture.name, mtl.folder, picture.clamp)
    return None if index is None else _reference(scene, picture, index)


def _reference(scene: SceneBuilder, picture: PictureReference, index: int) -> dict[str, Any]:
    transform = picture.transform()
    if transform is None:
        return {"index": index}
    scene.use_extension("KHR_texture_transform")
    return {"index": index, "extensions": {"KHR_texture_transform": transform}}


def _base_color(scene: SceneBuilder, mtl: MtlMaterial) -> tuple[dict[str, Any] | None, str | None]:
    """The base colour texture with the alpha of ``map_d``, if any, and the glTF alpha mode that this asks for."""
    if "map_kd" not in mtl.lines:
        return None, None
    reference = parse_picture(mtl.lines["map_kd"])
    color = scene.picture(reference.name, mtl.folder)
    if color is None:
        return None, None
    mask = scene.picture(parse_picture(mtl.lines["map_d"]).name, mtl.folder) if "map_d" in mtl.lines else None
    if mask is None:
        return _reference(scene, reference, scene.add_texture(*color, reference.clamp)), None
    alpha = decode_picture(mask[1], str(scene.path))
    alpha = alpha[..., 3] if alpha.shape[2] == 4 and alpha[..., 3].min() < 255 else alpha[..., :3].mean(2)
    rgb = np.round(decode_image(color[1], str(scene.path)) * 255)
    alpha = cv2.resize(alpha.astype(np.float32), rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR).round()
    if alpha.max() == 0:
        logger.warning("%s: material %r is invisible by its map_d, which is ignored", scene.path, printable(mtl.name))
        return _reference(scene, reference, scene.add_texture(*color, reference.clamp)), None
    mode = None
    if alpha.min() < 255:
        mode = "MASK" if ((alpha < 26) | (alpha > 229)).mean() > MASK_SHARE else "BLEND"
    pixels = np.dstack([rgb[..., ::-1], alpha]).astype(np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    return _reference(scene, reference, scene.add_texture(color[0], data, "image/png", reference.clamp)), mode


def _normal_map(scene: SceneBuilder, mtl: MtlMaterial) -> dict[str, Any] | None:
    """The normal texture: of ``norm``, or of a bump line whose picture is a normal map; heights are left out."""
    if "norm" in mtl.lines:
        return _texture(scene, mtl, "norm")
    for keyword in ("map_bump", "bump", "map_kn"):
        if keyword not in mtl.lines:
            continue
        reference = parse_picture(mtl.lines[keyword])
        picture = scene.picture(reference.name, mtl.folder)
        if picture is None:
            continue
        red, green, blue = decode_image(picture[1], str(scene.path)).reshape(-1, 3).mean(0)
        if blue > 0.7 and abs(red - 0.5) < 0.2 and abs(green - 0.5) < 0.2:  # most of it points straight up
            return _reference(scene, reference, scene.add_texture(*picture, reference.clamp))
        logger.info("%s: the height map of material %r is left out", scene.path, printable(mtl.name))
    return None
