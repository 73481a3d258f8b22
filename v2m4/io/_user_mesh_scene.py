"""Build the glTF document that a mesh of another format becomes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.io._far_origin import far_origin
from v2m4.io._gltf_container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Document, GltfBuilder, GltfError
from v2m4.io._gltf_images import as_png_or_jpeg
from v2m4.io._text_encoding import printable
from v2m4.io.beside import find_beside

logger = logging.getLogger(__name__)

CLAMP_TO_EDGE = 33071
TEXTURE_FOLDERS = ("textures", "texture", "tex", "maps", "materials")  # beside the mesh's folder: those alone are read
PICTURE_SUFFIXES = ("png", "jpg", "jpeg", "tga", "bmp", "tif", "tiff", "webp", "avif", "gif", "dds", "psd")


class SceneBuilder:
    """A glTF document built from vertices, faces, materials and pictures; each object becomes a node."""

    def __init__(self, path: Path) -> None:
        """Start an empty document.

        Args:
            path: the file that is read; pictures are looked up beside it, and errors name it.
        """
        self.path = path
        self._builder = GltfBuilder()
        self._pictures: dict[tuple[str, Path], tuple[str, bytes, str] | None] = {}
        self._images: dict[bytes, int] = {}
        self._textures: dict[tuple[int, bool], int] = {}
        self._origin = np.zeros(3)

    def centred(self, positions: np.ndarray, used: np.ndarray | None = None) -> np.ndarray:
        """Positions less their middle where they are far from the origin; the objects' nodes are placed there.

        Args:
            positions: (N, 3 or more) in the file's world; further columns are kept.
            used: indices of those that faces use; None for all.
        """
        self._origin = far_origin(positions[:, :3] if used is None else positions[np.unique(used), :3])
        if not self._origin.any():
            return positions
        moved = np.array(positions, dtype=np.float64)
        moved[:, :3] -= self._origin
        return moved

    def find(self, reference: str, start: Path | None = None) -> Path | None:
        """The file that a reference means; None where there is none that may be read.

        It lies in the folder of the file or below, or by relative path in one of TEXTURE_FOLDERS beside it, links
        resolved; no other file is ever read.

        Args:
            reference: a path as the file has it.
            start: the folder that it begins at; by default that of the file.
        """
        folder = self.path.parent
        found = find_beside(folder, reference, start)
        text = reference.strip().strip('"').replace("\\", "/")
        if found is not None or "\0" in text or Path(text).is_absolute():
            return found
        named = (start or folder) / text  # such as ../textures/skin.png
        try:
            place, above = named.resolve(), folder.resolve().parent
            parts = place.relative_to(above).parts if place.is_relative_to(above) else ()
            beside = len(parts) > 1 and parts[0].casefold() in TEXTURE_FOLDERS
            return named if beside and named.is_file() else None
        except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links
            return None

    def picture(self, reference: str, start: Path | None = None) -> tuple[str, bytes, str] | None:
        """The name, bytes and MIME type (PNG or JPEG) of the picture that a reference means.

        Where the file is not there, or of a format that is not read, one of the same name in another format is taken.
        None where there is none, or none that can be read; a warning says so, once for each reference.
        """
        key = (reference, start or self.path.parent)
        if key not in self._pictures:
            self._pictures[key] = self._read_picture(reference, start)
        return self._pictures[key]

    def _read_picture(self, reference: str, start: Path | None) -> tuple[str, bytes, str] | None:
        stem, dot, _ = reference.strip().strip('"').rpartition(".")
        others = [f"{stem}.{suffix}" for suffix in PICTURE_SUFFIXES] if dot else []
        reason = f"the picture {printable(reference)} is not there, nor one of its name below {self.path.parent}"
        for name in (reference, *others):
            file = self.find(name, start)
            if file is None:
                continue
            try:
                data, mime = as_png_or_jpeg(file.read_bytes(), str(file))
            except (GltfError, OSError) as error:
                reason = str(error) if name == reference else reason
                continue
            if name != reference:
                logger.warning("%s: %s; %s is used", self.path, reason, printable(file.name))
            return printable(file.stem), data, mime
        logger.warning("%s: %s; the material is shown without it", self.path, reason)
        return None

    def texture(self, reference: str, start: Path | None = None, clamp: bool = False) -> int | None:
        """Add the picture that a reference means as a texture; its index, or None (after a warning) without one.

        PNG and JPEG bytes are unchanged, other formats become PNG.

        Args:
            reference: a path as the file has it.
            start: the folder that it begins at; by default that of the file.
            clamp: the picture is not repeated outside [0, 1].
        """
        picture = self.picture(reference, start)
        return None if picture is None else self.add_texture(*picture, clamp)

    def add_texture(self, name: str, data: bytes, mime: str, clamp: bool = False) -> int:
        """Add a picture (PNG or JPEG bytes) as a texture; the same bytes are stored once. Returns the index."""
        if data not in self._images:
            view = self._builder.view(data)
            self._images[data] = self._builder.add("images", {"name": name, "bufferView": view, "mimeType": mime})
        key = (self._images[data], clamp)
        if key not in self._textures:
            texture: dict[str, Any] = {"source": self._images[data]}
            if clamp:
                texture["sampler"] = self._builder.add("samplers", {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE})
            self._textures[key] = self._builder.add("textures", texture)
        return self._textures[key]

    def use_extension(self, name: str) -> None:
        """Declare an extension that a material uses."""
        self._builder.use_extension(name, required=False)

    def material(self, material: dict[str, Any]) -> int:
        """Add a glTF material; returns its index."""
        return self._builder.add("materials", material)

    def primitive(
        self, attributes: dict[str, np.ndarray | None], faces: np.ndarray, material: int | None
    ) -> dict[str, Any]:
        """A triangle primitive of attributes (R, C) by glTF name (None: left out) and faces (F, 3)."""
        stored = {
            name: self._builder.accessor(np.asarray(values, np.float32), ARRAY_BUFFER, bounds=name == "POSITION")
            for name, values in attributes.items()
            if values is not None
        }
        kind = np.uint16 if len(np.asarray(attributes["POSITION"])) < 65536 else np.uint32
        indices = self._builder.accessor(faces.reshape(-1).astype(kind), ELEMENT_ARRAY_BUFFER)
        return {"attributes": stored, "indices": indices} | ({} if material is None else {"material": material})

    def object(self, name: str, primitives: list[dict[str, Any]]) -> None:
        """Add a node whose mesh has these primitives."""
        mesh = self._builder.add("meshes", {"name": name, "primitives": primitives})
        place = {"translation": self._origin.tolist()} if self._origin.any() else {}
        self._builder.add("nodes", {"name": name, "mesh": mesh} | place)

    def document(self) -> Document:
        """The document with all objects in its scene."""
        self._builder.add("scenes", {"nodes": list(range(len(self._builder.json["nodes"])))})
        self._builder.json["scene"] = 0
        return self._builder.document(self.path)
