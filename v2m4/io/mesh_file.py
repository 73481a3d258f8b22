"""Which files a user's mesh may come in: the format by suffix and content, and the one model of a .zip.

This module imports neither PyTorch nor a mesh library, so that a wrong file is refused at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from v2m4.io._mesh_zip import extract_model, find_model

FORMATS = (".glb", ".gltf", ".vrm", ".obj", ".ply", ".stl", ".off", ".fbx", ".zip")
GLTF_FORMATS = (".glb", ".gltf", ".vrm")
STILL_FORMATS = (".obj", ".ply", ".stl", ".off")  # without animations
UNPACK = "unpack it and give the mesh file in it"
SAVE_AS_GLB = "open it in Blender and export it as GLB"
# What other files are that people bring as a mesh, and what to do.
OTHER_FORMATS = {
    **dict.fromkeys((".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"), f"an archive; {UNPACK}"),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), f"USD, which is not read; {SAVE_AS_GLB}"),
    ".blend": f"a Blender scene; {SAVE_AS_GLB}",
    **dict.fromkeys((".dae", ".3ds", ".x3d", ".wrl", ".abc", ".bvh", ".3mf", ".amf"), f"not read; {SAVE_AS_GLB}"),
    **dict.fromkeys((".max", ".c4d", ".ma", ".mb", ".skp", ".ztl"), "a modelling program's scene; export GLB there"),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs"), "CAD without triangles; export STL or GLB there"),
    **dict.fromkeys((".splat", ".ksplat", ".spz"), "Gaussian splats, not a surface; convert them to a mesh first"),
    **dict.fromkeys((".las", ".laz", ".e57", ".pcd", ".xyz"), "points without a surface; reconstruct a mesh first"),
    ".mtl": "a material library; give the .obj beside it",
    ".bin": "the buffer of a glTF; give the .gltf beside it",
}
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
            raise ValueError(_refusal(path, suffix))
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(512)
    told = next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), None)
    if head[257:262] == b"ustar":
        told = ".tar"
    if suffix in OTHER_FORMATS and told in (None, ".zip", ".gz"):  # .usdz and .3mf are archives inside
        told = suffix
    if told is None and suffix not in FORMATS and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        told = ".gltf" if b'"asset"' in path.read_bytes() else None
    kind = told or suffix
    if kind not in FORMATS:
        raise ValueError(_refusal(path, kind))
    if kind == ".glb" and suffix in GLTF_FORMATS:
        return suffix
    return kind


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


def _refusal(path: Path, kind: str) -> str:
    """Why a file is not read, and what to do, in one line."""
    what = OTHER_FORMATS.get(kind)
    if what is None:
        return f"{path}: unknown mesh format {path.suffix!r}; known are {' '.join(FORMATS)}"
    return f"{path}: unknown mesh format {kind!r} ({what}); known are {' '.join(FORMATS)}"
