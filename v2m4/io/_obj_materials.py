"""The materials of an OBJ: its libraries found, and glTF materials made of those that faces use."""

from __future__ import annotations

import logging
from pathlib import Path

from v2m4.io._text_encoding import printable
from v2m4.io._user_mesh_mtl import MtlMaterial, default_material, gltf_material, read_library
from v2m4.io._user_mesh_scene import SceneBuilder

logger = logging.getLogger(__name__)


class Materials:
    """glTF materials by the names that an OBJ uses; white ones for names that no library has."""

    def __init__(self, scene: SceneBuilder, libraries: list[str], used: dict[str, bytes]) -> None:
        """Read the libraries, and warn of what is missing.

        Args:
            scene: gets the materials.
            libraries: the arguments of ``mtllib`` lines.
            used: the names of the materials of faces and their bytes in the file; "" for faces without one.

        Raises:
            OSError: a library cannot be read.
        """
        self._scene = scene
        self._indices: dict[tuple[str, bool], int] = {}
        self._pictured: dict[tuple[str, bool], bool] = {}
        files, missing = _library_files(scene, libraries)
        found = [material for file in files for material in read_library(file, scene)]
        by_name = {each.name: each for each in reversed(found)}
        by_bytes = {each.raw: each for each in reversed(found)}
        self._materials: dict[str, MtlMaterial] = {}
        for name, raw in used.items():
            material = by_name.get(name) or by_bytes.get(raw)  # files of different encodings may agree in bytes alone
            if name and material is not None:
                self._materials[name] = material
        without = [repr(printable(name)) for name in used if name and name not in self._materials]
        if missing:
            names = ", ".join(printable(each) for each in missing)
            logger.warning("%s: its material library %s is not there; white is used", scene.path, names)
        elif without:
            what = "materials" if len(without) > 1 else "material"
            where = "in none of the file's libraries" if libraries else "named, but no library"
            logger.warning("%s: %s %s: %s; white is used", scene.path, what, ", ".join(without), where)
        self._opacities = {name: each.opacity() for name, each in self._materials.items()}
        if used.keys() == self._opacities.keys() and not any(self._opacities.values()):
            logger.warning("%s: all its materials are invisible (d 0); they are taken as opaque", scene.path)
            self._opacities = dict.fromkeys(self._opacities, 1.0)

    def index(self, name: str, textured: bool) -> tuple[int, bool]:
        """The glTF material's index, made at first use, and whether it has a base colour picture.

        Args:
            name: as the OBJ has it; "" for none.
            textured: the faces have texture coordinates.
        """
        key = (name, textured)
        if key not in self._indices:
            mtl = self._materials.get(name)
            if mtl is None:
                material = default_material(name or self._scene.path.stem)
            else:
                material = gltf_material(self._scene, mtl, textured, self._opacities[name])
            twin = (name, not textured)
            self._pictured[key] = "baseColorTexture" in material["pbrMetallicRoughness"]
            if twin in self._indices and not self._pictured[key] and not self._pictured[twin]:
                self._indices[key] = self._indices[twin]
            else:
                self._indices[key] = self._scene.material(material)
        return self._indices[key], self._pictured[key]


def _library_files(scene: SceneBuilder, libraries: list[str]) -> tuple[list[Path], list[str]]:
    """The files of all ``mtllib`` lines, and the names of those that are not there.

    A line is one name with spaces, or several names. For a missing one the MTL of the OBJ's own name is taken.
    """
    files: dict[Path, None] = {}
    missing: list[str] = []
    for line in libraries:
        found = {line: scene.find(line)}
        if found[line] is None:
            found = {name: scene.find(name) for name in line.split()}
        if len(found) > 1 and not any(found.values()):
            found = {line: None}
        for name, file in found.items():
            own = file or scene.find(f"{scene.path.stem}.mtl")
            if own is None:
                missing.append(name)
                continue
            if file is None:
                logger.warning("%s: %s is not there; %s is used", scene.path, printable(name), printable(own.name))
            files[own] = None
    return list(files), missing
