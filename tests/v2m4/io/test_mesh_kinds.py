"""Files that hold no mesh are named before any work, with what to do."""

import re
from pathlib import Path

import pytest

from v2m4.io.any_mesh import read_any_mesh
from v2m4.io.mesh_kinds import OTHER_KINDS, check_content, points_of_ply, refusal

FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".fbx")
PLY = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.splat", "Gaussian splats, not a mesh"),
        ("a.spz", "Gaussian splats, not a mesh"),
        ("a.KSPLAT", "Gaussian splats, not a mesh"),
        ("a.pcd", "points without a surface.*Poisson"),
        ("a.las", "points without a surface"),
        ("a.dae", "COLLADA; open it in Blender"),
        ("a.usdz", "USD; open it in Blender and export it as GLB"),
        ("a.STEP", "CAD model.*FreeCAD"),
        ("a.blend", "Blender project"),
        ("a.max", "3ds Max"),
        ("a.mtl", "give the OBJ"),
        ("a.rock", r"unknown mesh format '\.rock'; known are \.glb"),
        ("mesh", "unknown mesh format ''"),
    ],
)
def test_other_formats_are_named_in_one_line(tmp_path: Path, name: str, says: str) -> None:
    assert re.search(says, refusal(tmp_path / name, FORMATS)) and "\n" not in refusal(tmp_path / name, FORMATS)
    with pytest.raises(ValueError, match=says):
        read_any_mesh(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.obj", b"", "empty"),
        ("a.glb", bytes(40), "empty"),
        ("a.obj", b"glTF\2\0\0\0", "a GLB; rename it to .glb"),
        ("a.stl", b"ply\nformat ascii 1.0\n", "a PLY; rename it"),
        ("a.obj", b"PK\3\4....", "a ZIP archive; unpack it"),
        ("a.glb", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.obj", b"<!DOCTYPE html><html>", "web page"),
        ("a.off", b"\xef\xbb\xbf\r\n<?xml version='1.0'?>", "XML"),
        (
            "a.ply",
            PLY + b"element face 0\nproperty list uchar int vertex_indices\nend_header\n",
            "points without",
        ),
        ("a.ply", PLY + b"property float f_dc_0\nproperty float scale_0\nend_header\n", "Gaussian splats"),
    ],
)
def test_what_is_no_mesh_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        check_content(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_meshes_pass(tmp_path: Path) -> None:
    face = PLY + b"element face 1\nproperty list uchar int vertex_indices\nend_header\n3 0 1 2\n"
    files = {"a.ply": face, "a.obj": b"v 0 0 0", "a.stl": b"solid", "a.off": b"OFF", "a.glb": b"glTF"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        check_content(tmp_path / name)
    assert points_of_ply(face) is None


def test_no_format_that_is_read_is_among_the_others() -> None:
    assert not set(FORMATS) & set(OTHER_KINDS)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in OTHER_KINDS)
