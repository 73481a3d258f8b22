"""Build the glTF document that a mesh of another format becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2m4.io._far_origin import far_origin
from v2m4.io._gltf_container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, Document, GltfBuilder, GltfError

MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def picture_kind(data: bytes) -> str | None:
    """The MIME type of PNG or JPEG data, None for any other."""
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)


class SceneBuilder:
    """A glTF document built from vertices, faces, materials and pictures; each object becomes a node."""

    def __init__(self, path: Path) -> None:
        """Start an empty document.

        Args:
            path: the file that is read; pictures are looked up beside it, and errors name it.
        """
        self.path = path
        self._builder = GltfBuilder()
        self._pictures: dict[Path, int] = {}
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

    def texture(self, name: str) -> int:
        """Add a picture beside the file as a texture, PNG and JPEG bytes unchanged; returns the texture's index.

        Raises:
            GltfError: the file does not exist or is not a picture.
        """
        named = Path(name.strip().strip('"').replace("\\", "/"))
        candidates = [self.path.parent / named, self.path.parent / named.name]
        file = next((place for place in candidates if place.is_file()), None)
        if file is None:
            raise GltfError(f"{self.path}: refers to the picture {named}, which is not there; put it beside the file")
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
