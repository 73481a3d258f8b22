"""PLY, OFF and STL as programs write them: layouts, colours, texture coordinates, and what is no mesh."""

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from v2m4.io._ply_parse import parse_ply
from v2m4.io._polygon_mesh import smooth_normals
from v2m4.io.srgb import linear_to_srgb
from v2m4.io.user_mesh import UserMesh, open_user_mesh
from v2m4.mesh import Mesh

CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}
XYZ = [("float", "x"), ("float", "y"), ("float", "z")]
SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")


def ply(
    form: str,
    vertices: list[tuple],
    faces: list[list],
    vertex_kinds: list[tuple[str, str]] = XYZ,
    face_kinds: tuple[str, ...] = ("list uchar int vertex_indices",),
    comment: str | bytes = "made by hand",
    newline: str = "\n",
) -> bytes:
    """A PLY file; each face is one entry (a list or a number) for each of the face's properties."""
    head = ["ply", f"format {form} 1.0", "comment @", f"element vertex {len(vertices)}"]
    head += [f"property {kind} {name}" for kind, name in vertex_kinds]
    head += [f"element face {len(faces)}"] + [f"property {kind}" for kind in face_kinds] + ["end_header", ""]
    header = newline.join(head).encode().replace(b"@", comment.encode() if isinstance(comment, str) else comment)
    order = ">" if form.endswith("big_endian") else "<"
    body = b""
    for row in vertices:
        if form == "ascii":
            body += (" ".join(map(str, row)) + newline).encode()
        else:
            body += struct.pack(order + "".join(CODES[kind] for kind, _ in vertex_kinds), *row)
    for face in faces:
        for kind, entry in zip(face_kinds, face, strict=True):
            words = kind.split()
            values = entry if words[0] == "list" else [entry]
            codes = (CODES[words[1]], CODES[words[2]]) if words[0] == "list" else ("", CODES[words[0]])
            numbers = ([len(values)] if codes[0] else []) + list(values)
            if form == "ascii":
                body += (" ".join(map(str, numbers)) + " ").encode()
            else:
                body += struct.pack(order + codes[0] + codes[1] * len(values), *numbers)
        body += newline.encode() if form == "ascii" else b""
    return header + body


def opened(path: Path, data: bytes) -> UserMesh:
    path.write_bytes(data)
    return open_user_mesh(path)


def area(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1).sum() / 2)


def colors_by_corner(mesh: Mesh) -> np.ndarray:
    """Colours of the square's corners in the order of SQUARE."""
    assert mesh.colors is not None
    order = [int(np.abs(mesh.vertices.numpy() - np.array(corner)).sum(1).argmin()) for corner in SQUARE]
    return mesh.colors.numpy()[order]


def picture(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


# PLY


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["vertex_indices", "vertex_index"])
@pytest.mark.parametrize("mixed", [False, True])
def test_plys_of_any_layout(tmp_path: Path, form: str, newline: str, name: str, mixed: bool) -> None:
    faces = (
        [[[0, 1, 2, 3]], [[0, 1, 4]], [[1, 2, 4]]] if mixed else [[[0, 1, 2]], [[0, 2, 3]], [[0, 1, 4]], [[1, 2, 4]]]
    )
    data = ply(form, [*SQUARE, (1, 0, 1)], faces, face_kinds=(f"list uchar int {name}",), newline=newline)
    mesh = opened(tmp_path / "a.ply", data).mesh
    assert len(mesh.vertices) == 5 and len(mesh.faces) == 4
    assert area(mesh) == pytest.approx(1 + 0.5 + 0.5)


@pytest.mark.parametrize("form", FORMATS)
def test_plys_with_other_elements_and_properties(tmp_path: Path, form: str) -> None:
    kinds = [("double", "x"), ("short", "flags"), ("float", "y"), ("float", "z")]
    rows = [(x, 7, y, z) for x, y, z in SQUARE]
    face_kinds = ("uchar quality", "list ushort float weights", "list uchar uint vertex_indices")
    faces = [[1, [0.5, 0.25], [0, 1, 2]], [2, [], [0, 2, 3]]]
    mesh = opened(tmp_path / "a.ply", ply(form, rows, faces, kinds, face_kinds)).mesh
    assert area(mesh) == pytest.approx(1)


def test_numbers_that_look_like_the_end_of_a_line(tmp_path: Path) -> None:
    (low,) = struct.unpack("<f", b"\n\n\r\n")  # the first four bytes behind the header
    data = ply("binary_little_endian", [(low, 0, 0), *SQUARE[1:]], [[[0, 1, 2, 3]]])
    end = data.index(b"end_header") + len(b"end_header\n")
    headers = [data[:end].replace(b"\n", newline) for newline in (b"\n", b"\r\n", b"\r")]
    for header in (*headers, data[: end - 1] + b"\r\n"):
        assert area(opened(tmp_path / "a.ply", header + data[end:]).mesh) == pytest.approx(1)


def test_concave_polygons_of_a_ply(tmp_path: Path) -> None:
    corners = [(0, 0, 0), (3, 0, 0), (3, 1, 0), (1, 1, 0), (1, 3, 0), (0, 3, 0)]
    assert area(opened(tmp_path / "a.ply", ply("ascii", corners, [[[3, 4, 5, 0, 1, 2]]])).mesh) == pytest.approx(5)


@pytest.mark.parametrize("form", FORMATS)
def test_strips_are_triangles(tmp_path: Path, form: str) -> None:
    head = f"ply\nformat {form} 1.0\nelement vertex 7\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    head += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    points = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (5, 0, 0), (6, 0, 0), (5, 1, 0)]
    strip = [0, 1, 2, 3, -1, 4, 5, 6]
    if form == "ascii":
        body = "".join(f"{x} {y} {z}\n" for x, y, z in points) + " ".join(map(str, [len(strip), *strip])) + "\n"
        data = (head + body).encode()
    else:
        order = ">" if form.endswith("big_endian") else "<"
        data = head.encode() + struct.pack(f"{order}21f", *np.ravel(points)) + struct.pack(f"{order}9i", 8, *strip)
    mesh = opened(tmp_path / "a.ply", data).mesh
    corners = mesh.vertices[mesh.faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert len(mesh.faces) == 3 and bool((normals[:, 2] > 0).all())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("kind", "names", "rows", "expected"),
    [
        ("uchar", "red green blue", [(255, 0, 51)] * 4, (1, 0, 0.2)),
        ("uchar", "red green blue alpha", [(255, 0, 51, 9)] * 4, (1, 0, 0.2)),
        ("uchar", "diffuse_red diffuse_green diffuse_blue", [(0, 255, 51)] * 4, (0, 1, 0.2)),
        ("uchar", "r g b", [(1, 1, 0)] * 4, (1 / 255, 1 / 255, 0)),
        ("ushort", "red green blue", [(65535, 0, 13107)] * 4, (1, 0, 0.2)),
        ("float", "red green blue", [(1.0, 0.0, 0.2)] * 4, (1, 0, 0.2)),
        ("float", "red green blue", [(255.0, 0.0, 51.0)] * 4, (1, 0, 0.2)),
        ("int", "red green blue", [(255, 0, 51)] * 4, (1, 0, 0.2)),
        ("float", "red green blue", [(np.nan, 0.0, 0.0)] + [(1.0, 0.0, 0.2)] * 3, (1, 0, 0.2)),
        ("float", "red green blue", [(np.nan,) * 3] * 4, (1, 1, 1)),
    ],
)
def test_colours_of_a_plys_vertices(
    tmp_path: Path, form: str, kind: str, names: str, rows: list[tuple], expected: tuple[float, ...]
) -> None:
    kinds = XYZ + [(kind, name) for name in names.split()]
    vertices = [(*corner, *color) for corner, color in zip(SQUARE, rows, strict=True)]
    user_mesh = opened(tmp_path / "a.ply", ply(form, vertices, [[[0, 1, 2, 3]]], kinds))
    np.testing.assert_allclose(colors_by_corner(user_mesh.mesh), np.tile(expected, (4, 1)), atol=1e-5)
    attributes = user_mesh.document.items("meshes")[0]["primitives"][0]["attributes"]
    assert np.isfinite(user_mesh.document.accessor(attributes["COLOR_0"])).all()


def test_colours_of_a_plys_faces(tmp_path: Path) -> None:
    face_kinds = ("list uchar int vertex_indices", "uchar red", "uchar green", "uchar blue")
    user_mesh = opened(
        tmp_path / "a.ply",
        ply("binary_little_endian", SQUARE, [[[0, 1, 2], 255, 0, 0], [[0, 2, 3], 0, 0, 255]], XYZ, face_kinds),
    )
    primitive = user_mesh.document.items("meshes")[0]["primitives"][0]
    colors = linear_to_srgb(user_mesh.document.accessor(primitive["attributes"]["COLOR_0"]))
    faces = user_mesh.document.accessor(primitive["indices"]).reshape(-1, 3)
    by_face = colors[faces]
    assert np.allclose(by_face, by_face[:, :1], atol=1e-6)
    assert sorted(np.round(by_face[:, 0]).tolist()) == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v"])
@pytest.mark.parametrize("colored", [True, False])
def test_coordinates_without_a_picture_are_kept(
    tmp_path: Path, names: str, colored: bool, warnings: pytest.LogCaptureFixture
) -> None:
    kinds = (
        XYZ + [("float", name) for name in names.split()] + [("uchar", c) for c in ("red", "green", "blue")] * colored
    )
    vertices = [(*corner, *corner[:2], *((0, 255, 0) * colored)) for corner in SQUARE]
    user_mesh = opened(tmp_path / "a.ply", ply("ascii", vertices, [[[0, 1, 2]], [[0, 2, 3]]], kinds))
    assert not warnings.messages
    attributes = user_mesh.document.items("meshes")[0]["primitives"][0]["attributes"]
    assert "TEXCOORD_0" in attributes and ("COLOR_0" in attributes) == colored
    np.testing.assert_allclose(colors_by_corner(user_mesh.mesh), np.tile((0, 1, 0) if colored else (1, 1, 1), (4, 1)))


FACE_UVS = ("list uchar int vertex_indices", "list uchar float texcoord", "int texnumber")


def two_textures(comment: str | bytes, form: str = "binary_little_endian") -> bytes:
    faces = [[[0, 1, 2], [0, 0, 1, 0, 1, 1], 0], [[0, 2, 3], [0, 0, 1, 1, 0, 1], 1]]
    return ply(form, SQUARE, faces, XYZ, FACE_UVS, comment)


@pytest.mark.parametrize("form", FORMATS)
def test_coordinates_of_faces_and_several_textures(tmp_path: Path, form: str) -> None:
    (tmp_path / "one.png").write_bytes(picture((255, 0, 0)))
    (tmp_path / "two.png").write_bytes(picture((0, 0, 255)))
    comment = "TextureFile one.png\ncomment TextureFile C:\\scans\\TWO.png"
    user_mesh = opened(tmp_path / "a.ply", two_textures(comment, form))
    assert [len(mesh["primitives"]) for mesh in user_mesh.document.items("meshes")] == [2]
    assert len(user_mesh.document.items("images")) == 2 and user_mesh.mesh.texture is not None
    values = user_mesh.mesh.texture.reshape(-1, 3)
    assert bool(((values - torch.tensor([1.0, 0, 0])).abs().sum(1) < 0.01).any())
    assert bool(((values - torch.tensor([0, 0, 1.0])).abs().sum(1) < 0.01).any())


def test_coordinates_of_faces_without_a_picture(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    user_mesh = opened(tmp_path / "a.ply", two_textures("nothing"))
    assert user_mesh.mesh.colors is not None and bool((user_mesh.mesh.colors == 1).all()) and not warnings.messages
    assert len(user_mesh.mesh.vertices) == 4
    user_mesh = opened(tmp_path / "a.ply", two_textures("TextureFile gone.png\ncomment TextureFile gone.png"))
    assert len(warnings.messages) == 1 + 0 and "gone.png" in warnings.messages[0]


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "贴图"), ("cp932", "テクスチャ"), ("utf-8", "Körper"), ("cp1252", "Körper")]
)
def test_a_texture_named_in_any_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    (tmp_path / f"{name}.png").write_bytes(picture((0, 200, 0)))
    kinds = [*XYZ, ("float", "s"), ("float", "t")]
    vertices = [(*corner, *corner[:2]) for corner in SQUARE]
    data = ply(
        "binary_big_endian", vertices, [[[0, 1, 2, 3]]], kinds, comment=f"TextureFile {name}.png".encode(encoding)
    )
    mesh = opened(tmp_path / "a.ply", data).mesh
    assert mesh.texture is not None and float(mesh.texture[0, 0, 1]) == pytest.approx(200 / 255)


def test_lines_with_more_numbers_than_the_header_says(tmp_path: Path) -> None:
    data = (
        ply("ascii", SQUARE, [[[0, 1, 2]], [[0, 2, 3]]])
        .replace(b"3 0 1 2 ", b"3 0 1 2 9 1 1")
        .replace(b"1 0 0", b"1 0 0 7")
    )
    assert area(opened(tmp_path / "a.ply", data).mesh) == pytest.approx(1)
    with pytest.raises(ValueError, match="fewer numbers than the header says"):
        opened(tmp_path / "a.ply", data.replace(b"3 0 1 2 9 1 1", b"3 0 1"))


@pytest.mark.parametrize("form", FORMATS)
def test_a_ply_cut_off_is_refused(tmp_path: Path, form: str) -> None:
    whole = ply(form, SQUARE, [[[0, 1, 2, 3]], [[0, 1, 2]]])
    lengths = [3, 40, whole.index(b"end_header") + 3, whole.index(b"end_header") + 20, len(whole) - 9]
    for length in lengths:
        with pytest.raises(ValueError, match=r"a\.ply: ") as error:
            opened(tmp_path / "a.ply", whole[:length])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"format ascii", b"format xml"), "PLY format 'xml'"),
        ((b"0 1 2 3", b"0 1 2 9"), "vertex 9 of 4"),
        ((b"0 1 2 3", b"0 1 2 -3"), "vertex -3 of 4"),
        ((b"0 1 2 3", b"0 1 two 3"), "broken PLY"),
        ((b"property float x", b"property float q"), "broken PLY"),
        ((b"property float x", b"property quad x"), "broken PLY"),
        ((b"element vertex 4", b"element vertex -4"), "broken PLY"),
        ((b"element vertex 4", b"element vertex 99999999999"), "cut off"),
        ((b"element vertex 4", b"element vertex 0"), "without vertices"),
        ((b"element face 1", b"element face 0"), "points without a surface"),
        ((b"element face 1", b"element edge 1"), "points without a surface"),
    ],
)
def test_what_is_wrong_with_a_ply_is_said(tmp_path: Path, change: tuple[bytes, bytes], says: str) -> None:
    data = ply("ascii", SQUARE, [[[0, 1, 2, 3]]])
    assert change[0] in data
    with pytest.raises(ValueError, match=says) as error:
        opened(tmp_path / "a.ply", data.replace(*change))
    assert "a.ply" in str(error.value) and "\n" not in str(error.value)


def test_gaussian_splats_are_named(tmp_path: Path) -> None:
    names = [
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    splats = ply("binary_little_endian", [(0.0,) * 14] * 3, [], XYZ + [("float", name) for name in names])
    packed = [("uint", f"packed_{name}") for name in ("position", "rotation", "scale", "color")]
    compressed = ply("binary_little_endian", [(0,) * 4] * 3, [], packed)
    for data in (splats, splats.replace(b"element face 0\nproperty list uchar int vertex_indices\n", b""), compressed):
        with pytest.raises(ValueError, match=r"a\.ply: Gaussian splats, not a mesh"):
            opened(tmp_path / "a.ply", data)


def test_columns_keep_the_files_types() -> None:
    kinds = [("double", "x"), ("ushort", "y"), ("char", "z")]
    for form in FORMATS:
        _, elements = parse_ply(ply(form, [(0.1, 65535, -128), (1e300, 0, 127)], [], kinds), Path("a.ply"))
        columns = elements["vertex"].columns
        assert columns["x"].tolist() == [0.1, 1e300]
        assert columns["y"].tolist() == [65535, 0] and columns["z"].tolist() == [-128, 127]


@pytest.mark.parametrize(("scale", "origin"), [(1.0, 0.0), (1e-9, 0.0), (1e12, 0.0), (1.0, 4e6)])
def test_normals_of_meshes_of_any_size_and_place(scale: float, origin: float) -> None:
    ball = trimesh.creation.icosphere(3)
    positions = np.concatenate([ball.vertices * scale + origin, [[np.nan] * 3]])
    normals = smooth_normals(positions, np.asarray(ball.faces))[:-1]
    assert np.abs(normals - ball.vertices).max() < 0.02


# OFF

TETRAHEDRON = "0 0 0\n1 0 0\n0 1 0\n0 0 1\n"
SIDES = "3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        f"OFF\n4 4 6\n{TETRAHEDRON}{SIDES}",
        f"OFF 4 4 6\n{TETRAHEDRON}{SIDES}",
        f"  OFF4 4 6 # counts\n{TETRAHEDRON}{SIDES}",
        f"OFF\n\n# a comment\n4 4 0 # counts\n{TETRAHEDRON}\n{SIDES}",
        f"4 4 0\n{TETRAHEDRON}{SIDES}",
        f"off\r\n4 4\r\n{TETRAHEDRON}{SIDES}",
        "4OFF\n4 4 0\n" + TETRAHEDRON.replace("\n", " 1\n") + SIDES,
        "NOFF\n4 4 0\n" + TETRAHEDRON.replace("\n", " 0 0 1\n") + SIDES,
    ],
)
def test_offs(tmp_path: Path, text: str) -> None:
    mesh = opened(tmp_path / "a.off", text.encode()).mesh
    assert len(mesh.vertices) == 4 and len(mesh.faces) == 4
    assert mesh.colors is not None and bool((mesh.colors == 1).all())
    assert area(mesh) == pytest.approx(1.5 + np.sqrt(3) / 2)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        ("COFF", " 255 51 0 255"),
        ("COFF", " 1.0 0.2 0.0 1.0"),
        ("COFF", " 255 51 0"),
        ("OFF", " 255 51 0"),
        ("CNOFF", " 0 0 1 255 51 0 255"),
        ("STCNOFF", " 0 0 1 255 51 0 255 0.5 0.5"),
    ],
)
def test_colours_of_an_offs_vertices(tmp_path: Path, head: str, tail: str) -> None:
    mesh = opened(
        tmp_path / "a.off", (f"{head}\n4 4 0\n" + TETRAHEDRON.replace("\n", f"{tail}\n") + SIDES).encode()
    ).mesh
    assert mesh.colors is not None
    np.testing.assert_allclose(mesh.colors.numpy(), np.tile((1, 0.2, 0), (4, 1)), atol=1e-5)


def test_colours_of_an_offs_faces(tmp_path: Path) -> None:
    text = f"OFF\n4 4 0\n{TETRAHEDRON}" + SIDES.replace("\n", " 0 255 0\n", 3)
    user_mesh = opened(tmp_path / "a.off", text.encode())
    primitive = user_mesh.document.items("meshes")[0]["primitives"][0]
    colors = linear_to_srgb(user_mesh.document.accessor(primitive["attributes"]["COLOR_0"]))
    faces = user_mesh.document.accessor(primitive["indices"]).reshape(-1, 3)
    assert sorted(np.round(colors[faces][:, 0]).tolist()) == [[0, 1, 0]] * 3 + [[1, 1, 1]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"OFF\n4 0 0\n{TETRAHEDRON}", "points without a surface"),
        (f"OFF\n4 4 6\n{TETRAHEDRON}", "cut off: 4 of 8"),
        ("OFF BINARY\n4 4 6\n", "binary OFF"),
        ("nOFF\n5\n4 4 6\n", "another dimension"),
        ("hello\n", "no OFF file"),
        (f"OFF\n4 4 6\n{TETRAHEDRON}" + SIDES.replace("1 2 3", "1 2 8"), "vertex 8 of 4"),
        (f"OFF\n4 4 6\n{TETRAHEDRON}" + SIDES.replace("3 1 2 3", "4 1 2 3"), "broken OFF"),
        (f"OFF\n4 4 6\n{TETRAHEDRON}" + SIDES.replace("3 1 2 3", "3 1 x 3"), "broken OFF"),
    ],
)
def test_what_is_wrong_with_an_off_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        opened(tmp_path / "a.off", text.encode())
    assert "a.off" in str(error.value) and "\n" not in str(error.value)


# STL

TRIANGLES = np.array([[SQUARE[0], SQUARE[1], SQUARE[2]], [SQUARE[0], SQUARE[2], SQUARE[3]]], np.float32)


def binary_stl(header: bytes = b"", count: int | None = None, extra: bytes = b"", colored: int = 0) -> bytes:
    facets = b"".join(struct.pack("<12fH", 0, 0, 1, *each.ravel(), colored) for each in TRIANGLES)
    return header.ljust(80, b"\0") + struct.pack("<I", len(TRIANGLES) if count is None else count) + facets + extra


def ascii_stl(word: str = "vertex") -> bytes:
    lines = ["solid a name"]
    for triangle in TRIANGLES:
        lines += ["facet normal 0 0 1", "outer loop"]
        lines += [f"  {word} {x:e} {y:e} {z:e}" for x, y, z in triangle] + ["endloop", "endfacet"]
    return "\n".join([*lines, "endsolid", ""]).encode()


@pytest.mark.parametrize(
    ("data", "warned"),
    [
        (binary_stl(), False),
        (binary_stl(b"solid exported by CAD"), False),
        (binary_stl(b"COLOR=\xff\xff\xff\xff", colored=0x8FFF), False),
        (binary_stl(count=0), True),
        (binary_stl(count=2**32 - 1), True),
        (binary_stl(count=3), True),
        (binary_stl(b"solid x", count=77), True),
        (binary_stl(extra=b"trailer"), False),
        (ascii_stl(), False),
        (ascii_stl("VERTEX").upper(), False),
        (ascii_stl().replace(b"\n", b"\r\n"), False),
        (b"\xef\xbb\xbf" + ascii_stl(), False),
        (ascii_stl() + ascii_stl(), False),
        (ascii_stl() + b"solid\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1", True),
    ],
)
def test_stls(tmp_path: Path, data: bytes, warned: bool, warnings: pytest.LogCaptureFixture) -> None:
    mesh = opened(tmp_path / "a.stl", data).mesh
    assert len(mesh.vertices) == 4 and mesh.colors is not None and bool((mesh.colors == 1).all())
    assert len(warnings.messages) == int(warned)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (binary_stl()[:100], "cut off: 100 bytes"),
        (b"solid a\nendsolid a\n", "no triangles"),
        (b"solid rubbish \xff\x01\x02" * 40, "no triangles"),
        (ascii_stl().replace(b"1.0", b"1,0"), "broken STL"),
        (b"a text file that is no STL at all" * 20, "no STL"),
    ],
)
def test_what_is_wrong_with_an_stl_is_said(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        opened(tmp_path / "a.stl", data)
    assert "a.stl" in str(error.value) and "\n" not in str(error.value)
