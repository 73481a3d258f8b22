"""Meshes of other formats as the glTF document that they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2m4.io._gltf_container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Builder, Document, GltfError

MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def picture_kind(data: bytes) -> str | None:
    """The MIME type of a PNG or JPEG, None of anything else."""
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)


class SceneBuilder:
    """A glTF document built from vertices, faces, materials and pictures; each object becomes a node."""

    def __init__(self, path: Path) -> None:
        """Begin.

        Args:
            path: the file that is read; pictures lie beside it, and errors name it.
        """
        self.path = path
        self._builder = Builder()
        self._pictures: dict[Path, int] = {}

    def texture(self, name: str) -> int:
        """A picture beside the file as a texture, its bytes untouched where it is a PNG or JPEG.

        Raises:
            GltfError: it is not there, or no picture.
        """
        given = Path(name.strip().strip('"').replace("\\", "/"))
        places = [self.path.parent / given, self.path.parent / given.name]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise GltfError(f"{self.path}: refers to the picture {given}, which is not there; put it beside the file")
        if file not in self._pictures:
            data = file.read_bytes()
            kind = picture_kind(data)
            if kind is None:
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
                if pixels is None:
                    raise GltfError(f"{self.path}: the picture {file} cannot be read; save it as PNG or JPEG")
                kind, data = "image/png", cv2.imencode(".png", pixels)[1].tobytes()
            view = self._builder.view(data)
            image = self._builder.add("images", {"name": file.stem, "bufferView": view, "mimeType": kind})
            self._pictures[file] = self._builder.add("textures", {"source": image})
        return self._pictures[file]

    def material(self, material: dict[str, Any]) -> int:
        """Add a material as glTF has it."""
        return self._builder.add("materials", material)

    def primitive(
        self, attributes: dict[str, np.ndarray | None], faces: np.ndarray, material: int | None
    ) -> dict[str, Any]:
        """A primitive of glTF attributes (R, C), those that are None left out, and faces (F, 3)."""
        stored = {
            name: self._builder.accessor(np.asarray(values, np.float32), ARRAY_BUFFER, bounds=name == "POSITION")
            for name, values in attributes.items()
            if values is not None
        }
        kind = np.uint16 if len(np.asarray(attributes["POSITION"])) < 65536 else np.uint32
        indices = self._builder.accessor(faces.reshape(-1).astype(kind), ELEMENT_ARRAY_BUFFER)
        return {"attributes": stored, "indices": indices} | ({} if material is None else {"material": material})

    def object(self, name: str, primitives: list[dict[str, Any]]) -> None:
        """Add a node with a mesh."""
        mesh = self._builder.add("meshes", {"name": name, "primitives": primitives})
        self._builder.add("nodes", {"name": name, "mesh": mesh})

    def document(self) -> Document:
        """The scene of all objects."""
        self._builder.add("scenes", {"nodes": list(range(len(self._builder.json["nodes"])))})
        self._builder.json["scene"] = 0
        return self._builder.document(self.path)
