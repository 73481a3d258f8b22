"""Which files a user's mesh may come in: the format by suffix and content, and the one model of a .zip.

This module imports neither PyTorch nor a mesh library, so that a wrong file is refused at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from v2m4.io._mesh_zip import MODEL_FORMATS, extract_model, find_model
from v2m4.io.mesh_kinds import OTHER_KINDS, check_content, refusal

FORMATS = (*MODEL_FORMATS, ".zip")
GLTF_FORMATS = (".glb", ".gltf", ".vrm")
STILL_FORMATS = (".obj", ".ply", ".stl", ".off")  # without animations
SIGNATURES = {
    b"glTF": ".glb",
    b"PK\x03\x04": ".zip",
    b"PK\x05\x06": ".zip",
    b"Kaydara FBX Binary": ".fbx",
    b"Rar!": ".rar",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"BLENDER": ".blend",
    b"PXR-USDC": ".usdc",
    b"#usda": ".usda",
}


def mesh_format(path: Path) -> str:
    """One of FORMATS, as which a file is read: told by its content where that has a signature, else by its suffix.

    Raises:
        ValueError: it is none of them; one line with what it is and what to do.
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise ValueError(f"{path}: a folder; give the mesh file in it")
    if not path.is_file():
        if suffix not in FORMATS:
            raise ValueError(refusal(path, FORMATS))
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(512)
    told = next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), None)
    if head[257:262] == b"ustar":
        told = ".tar"
    if suffix in OTHER_KINDS and told in (None, ".zip", ".gz"):  # .usdz and .3mf are archives inside
        told = suffix
    if told is None and suffix not in FORMATS and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        told = ".gltf" if b'"asset"' in path.read_bytes() else None
    kind = told or suffix
    if kind not in FORMATS:
        raise ValueError(refusal(path, FORMATS, kind))
    check_content(path, kind)
    return suffix if kind == ".glb" and suffix in GLTF_FORMATS else kind


def check_user_mesh(path: Path, blender_path: Path | None = None) -> str:
    """The format of a user's mesh, from its first bytes and, for a .zip, the list of its files.

    Args:
        path: the file.
        blender_path: Blender or a Python with bpy, without which FBX is not read.

    Raises:
        ValueError: it is of no format that is read, or a .zip without exactly one model.
        OSError: it cannot be read.
    """
    kind = mesh_format(path)
    kind = Path(find_model(path)).suffix.lower() if kind == ".zip" else kind
    if kind == ".fbx" and blender_path is None:
        raise ValueError(f"{path}: FBX is read through Blender; give --blender_path, or save it as GLB")
    return kind


@contextmanager
def model_file(path: Path) -> Iterator[tuple[Path, str]]:
    """A mesh file and its format; a .zip is unpacked to a temporary folder, and its one model yielded.

    Errors that name the unpacked file name the .zip instead.

    Raises:
        ValueError: the file is of no format that is read, or a .zip that is broken, too large, or without exactly one
            model.
        OSError: it cannot be read.
    """
    path = Path(path)
    kind = mesh_format(path)
    if kind != ".zip":
        yield path, kind
        return
    with tempfile.TemporaryDirectory(prefix=f"{path.name}-") as folder:
        model = extract_model(path, Path(folder))
        try:
            yield model, mesh_format(model)
        except ValueError as error:
            message = str(error).replace(str(model), f"{path}/{model.name}").replace(folder, str(path))
            raise type(error)(message) from error
