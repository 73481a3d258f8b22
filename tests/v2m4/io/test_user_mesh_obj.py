"""OBJ files as programs write them: odd, incomplete, of any encoding, and shown as viewers show them."""

import io
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from v2m4.io._gltf_container import Document
from v2m4.io._gltf_images import decode_image
from v2m4.io._user_mesh_obj import read_obj
from v2m4.io.srgb import linear_to_srgb
from v2m4.io.user_mesh import UserMesh, open_user_mesh

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
TEXTURED = f"mtllib a.mtl\n{QUAD}usemtl skin\nf 1/1 2/2 3/3 4/4\n"
RED = (200, 40, 10)


def png(color: tuple[int, ...] = RED) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB" if len(color) == 3 else "RGBA", (4, 4), color).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, obj: str = TEXTURED, mtl: str | None = None, **files: bytes) -> Path:
    (folder / "a.obj").write_text(obj)
    if mtl is not None:
        (folder / "a.mtl").write_text(mtl)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder / "a.obj"


def material(document: Document, number: int = 0) -> dict[str, Any]:
    return document.items("materials")[number]


def base(document: Document, number: int = 0) -> dict[str, Any]:
    return material(document, number)["pbrMetallicRoughness"]


def color(mesh: UserMesh) -> np.ndarray:
    """The mean colour of a mesh's texture or vertices, 0 to 255."""
    texture = mesh.mesh.texture
    if texture is not None:
        return texture.reshape(-1, 3).mean(0).numpy() * 255
    assert mesh.mesh.colors is not None
    return mesh.mesh.colors.mean(0).numpy() * 255


def area(mesh: UserMesh) -> float:
    corners = mesh.mesh.vertices[mesh.mesh.faces]
    return float(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1).sum() / 2)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


# Files that are missing or named differently


def test_without_its_library_a_mesh_is_white_and_keeps_its_coordinates(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    mesh = open_user_mesh(write(tmp_path))
    assert len(warnings.messages) == 1 and "a.mtl" in warnings.messages[0]
    assert np.allclose(color(mesh), 255)
    attributes = mesh.document.items("meshes")[0]["primitives"][0]["attributes"]
    assert "TEXCOORD_0" in attributes and base(mesh.document)["metallicFactor"] == 0


def test_without_its_picture_a_material_has_its_colour(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    mesh = open_user_mesh(write(tmp_path, mtl="newmtl skin\nKd 0.25 0.5 0.75\nmap_Kd C:\\Users\\me\\gone.png\n"))
    assert len(warnings.messages) == 1 and "gone.png" in warnings.messages[0]
    assert np.allclose(color(mesh), linear_to_srgb(np.array([0.25, 0.5, 0.75])) * 255, atol=0.5)
    black = open_user_mesh(write(tmp_path, mtl="newmtl skin\nKd 0 0 0\nmap_Kd gone.png\n"))
    assert np.allclose(color(black), 255)


@pytest.mark.parametrize("data", [b"no picture", b"", b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(99)])
def test_a_picture_that_is_not_read_is_a_warning(
    tmp_path: Path, data: bytes, warnings: pytest.LogCaptureFixture
) -> None:
    mesh = open_user_mesh(write(tmp_path, mtl="newmtl skin\nKd 0 1 0\nmap_Kd t.ktx2\n", t__ktx2=data))
    assert len(warnings.messages) == 1 and "t.ktx2" in warnings.messages[0] and "\n" not in warnings.messages[0]
    assert np.allclose(color(mesh), [0, 255, 0], atol=0.5)


@pytest.mark.parametrize(
    "reference",
    [
        "Body Skin.png",
        "body skin.PNG",
        "textures\\Body Skin.png",
        "C:\\Users\\anna\\Desktop\\Body Skin.png",
        "/home/anna/models/body skin.png",
        "./Body%20Skin.png",
        '"Body Skin.png"',
        "-s 1 1 1 -o 0 0 0 Body Skin.png",
        "-bm 1.0 -clamp on Body Skin.png",
        "-blendu on -mm 0 1 .\\Body Skin.png",
        "Body Skin.tga",
    ],
)
def test_pictures_are_found_by_their_names(tmp_path: Path, reference: str) -> None:
    path = write(tmp_path, mtl=f"newmtl skin\nmap_Kd {reference}\n")
    (tmp_path / "Textures").mkdir()
    (tmp_path / "Textures" / "Body Skin.png").write_bytes(png())
    assert np.allclose(color(open_user_mesh(path)), RED)


def test_names_with_a_bare_percent_and_in_the_folder_beside(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "skin.png").write_bytes(png())
    path = write(tmp_path / "model", mtl="newmtl skin\nmap_Kd ../textures/skin.png\n")
    assert np.allclose(color(open_user_mesh(path)), RED)
    (tmp_path / "textures" / "b.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    path = write(tmp_path / "model", TEXTURED.replace("a.mtl", "../textures/b.mtl"))
    assert np.allclose(color(open_user_mesh(path)), RED)
    (tmp_path / "model" / "100%_a%20.png").write_bytes(png((9, 9, 9)))
    path = write(tmp_path / "model", mtl="newmtl skin\nmap_Kd 100%_a%20.png\n")
    assert np.allclose(color(open_user_mesh(path)), 9)


@pytest.mark.parametrize("reference", ["../secret.png", "{0}/secret.png", "../../x/secret.png", "link.png"])
def test_pictures_elsewhere_are_not_read(tmp_path: Path, reference: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "model" / "link.png").symlink_to(tmp_path / "secret.png")
    path = write(tmp_path / "model", mtl=f"newmtl skin\nmap_Kd {reference.format(tmp_path)}\n")
    assert np.allclose(color(open_user_mesh(path)), 255)


@pytest.mark.parametrize("line", ["A.MTL", "sub\\a.mtl", "C:\\x\\a.mtl", "elsewhere.mtl"])
def test_libraries_are_found_by_their_names(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, TEXTURED.replace("a.mtl", line), "newmtl skin\nKd 0 0 1\n")
    assert np.allclose(color(open_user_mesh(path)), [0, 0, 255], atol=0.5)


def test_several_libraries_and_one_with_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, TEXTURED.replace("a.mtl", "one.mtl my own.mtl\nmtllib my own.mtl"), one__mtl=b"newmtl x\n")
    (tmp_path / "my own.mtl").write_text("newmtl skin\nKd 1 0 0\n")
    assert np.allclose(color(open_user_mesh(path)), [255, 0, 0], atol=0.5)
    path.write_text(TEXTURED.replace("a.mtl", "one.mtl two.mtl"))
    (tmp_path / "two.mtl").write_text("newmtl skin\nKd 0 1 0\n")
    assert np.allclose(color(open_user_mesh(path)), [0, 255, 0], atol=0.5)


def test_materials_that_no_library_has_are_named_once(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, TEXTURED + "usemtl x\nf 1 2 3\nusemtl y\nf 1 3 4\n", "newmtl skin\nKd 1 1 1\n")
    read_obj(path)
    assert len(warnings.messages) == 1 and "'x', 'y'" in warnings.messages[0]


# Encodings


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("gbk", "贴图"),
        ("gb18030", "机器人"),
        ("cp932", "テクスチャ"),
        ("cp949", "피부"),
        ("cp1252", "Körper"),
        ("cp1251", "Кожа"),
        ("utf-8", "贴图"),
        ("utf-8-sig", "skin"),
        ("utf-16", "贴图"),
        ("utf-16-le", "skin"),
        ("utf-16-be", "Körper"),
    ],
)
@pytest.mark.parametrize("others", [True, False])
def test_names_in_any_encoding(tmp_path: Path, encoding: str, name: str, others: bool) -> None:
    own = encoding if others else "utf-8"  # the library in one encoding, the mesh in another
    path = tmp_path / f"{name}.obj"
    path.write_bytes(TEXTURED.replace("a.mtl", f"{name}.mtl").replace("skin", name).encode(own))
    (tmp_path / f"{name}.mtl").write_bytes(f"newmtl {name}\nmap_Kd {name}.png\n".encode(encoding))
    (tmp_path / f"{name}.png").write_bytes(png())
    mesh = open_user_mesh(path)
    assert np.allclose(color(mesh), RED)
    assert material(mesh.document)["name"] == name


def test_material_names_match_by_their_bytes_without_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_bytes(TEXTURED.replace("skin", "Кожа").encode("cp1251"))
    (tmp_path / "a.mtl").write_bytes("# Материалы\nnewmtl Кожа\nKd 0 1 0\n".encode("cp1251"))
    assert np.allclose(color(open_user_mesh(path)), [0, 255, 0], atol=0.5)


# Opacity and textures of materials


@pytest.mark.parametrize(
    ("lines", "opacity"),
    [
        ("Tr 1", 1.0),
        ("Tr 0", 1.0),
        ("Tr 0.25", 0.75),
        ("d 1\nTr 1", 1.0),
        ("Tr 1\nd 0.5", 0.5),
        ("d 0.5\nTr 0.5", 0.5),
        ("d -halo 0.5", 0.5),
        ("d 1.0", 1.0),
        ("d 0", 1.0),  # all of the mesh would be invisible
        ("d 0\nTr 1", 1.0),
        ("d nan", 1.0),
    ],
)
def test_opacity_is_what_exporters_mean(tmp_path: Path, lines: str, opacity: float) -> None:
    document = read_obj(write(tmp_path, mtl=f"newmtl skin\nKd 0.5 0.5 0.5\n{lines}\n"))
    assert base(document)["baseColorFactor"] == pytest.approx([0.5, 0.5, 0.5, opacity])
    assert material(document).get("alphaMode", "OPAQUE") == ("OPAQUE" if opacity == 1 else "BLEND")


@pytest.mark.parametrize(("value", "opacity"), [(1.0, 1.0), (0.25, 0.25), (0.0, 1.0)])
def test_meshlab_writes_opacity_as_tr(tmp_path: Path, value: float, opacity: float) -> None:
    mtl = f"#\n# Wavefront material file\n# Converted by Meshlab Group\n#\n\nnewmtl skin\nKd 1 1 0\nTr {value}\n"
    assert base(read_obj(write(tmp_path, mtl=mtl)))["baseColorFactor"][3] == pytest.approx(opacity)


def test_one_invisible_material_of_several_stays_so(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    obj = TEXTURED + "usemtl glass\nf 1 2 4\n"
    for lines, opacity in (("d 0", 0), ("d 0\nTr 1", 0), ("d 0\nTr 0", 1)):
        document = read_obj(write(tmp_path, obj, f"newmtl skin\nKd 1 0 0\nnewmtl glass\nKd 1 0 1\n{lines}\n"))
        assert [base(document, number)["baseColorFactor"][3] for number in (0, 1)] == [1, opacity]
    assert not warnings.messages


def test_black_under_a_texture_does_not_darken_it(tmp_path: Path) -> None:
    document = read_obj(write(tmp_path, mtl="newmtl skin\nKd 0 0 0\nmap_Kd t.png\n", t__png=png()))
    assert "baseColorFactor" not in base(document) and "baseColorTexture" in base(document)


@pytest.mark.parametrize(
    ("grey", "mode"), [((0, 255), "MASK"), ((90, 160), "BLEND"), ((255, 255), None), ((0, 0), None)]
)
def test_a_matte_becomes_the_alpha_of_the_texture(tmp_path: Path, grey: tuple[int, int], mode: str | None) -> None:
    matte = np.repeat(np.array([grey], np.uint8), 8, 1).repeat(16, 0)
    files = {"t__png": png(), "m__bmp": cv2.imencode(".bmp", matte)[1].tobytes()}
    document = read_obj(write(tmp_path, mtl="newmtl skin\nmap_Kd t.png\nmap_d m.bmp\n", **files))
    assert material(document).get("alphaMode") == mode
    stored = cv2.imdecode(np.frombuffer(document.image_bytes(0), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored[..., 2::-1], np.full((4, 4, 3), RED))
    assert stored.shape[2] == (3 if mode is None and grey == (0, 0) else 4)
    if mode is not None:
        assert abs(int(stored[0, 0, 3]) - grey[0]) <= 1 and abs(int(stored[0, 3, 3]) - grey[1]) <= 1


def test_lines_without_arguments_are_ignored(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    document = read_obj(write(tmp_path, mtl="newmtl skin\nKd 1 0 0\nmap_Kd\nmap_Bump  \nmap_d \nNs\nd\nillum\n"))
    assert base(document)["baseColorFactor"] == [1, 0, 0, 1] and not warnings.messages


def test_bump_is_a_normal_map_only_where_it_looks_like_one(tmp_path: Path) -> None:
    mtl = "newmtl skin\nKd 1 1 1\nmap_Bump -bm 0.3 n.png\n"
    assert "normalTexture" in material(read_obj(write(tmp_path, mtl=mtl, n__png=png((128, 127, 250)))))
    assert "normalTexture" not in material(read_obj(write(tmp_path, mtl=mtl, n__png=png((120, 120, 120)))))


def test_scale_and_offset_of_a_texture_are_kept(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = 255  # the upper left quarter, which is u below 0.5 and v above 0.5
    data = cv2.imencode(".png", picture)[1].tobytes()
    path = write(tmp_path, mtl="newmtl skin\nmap_Kd -s 0.5 0.5 1 -o 0 0.5 0 t.png\n", t__png=data)
    mesh = open_user_mesh(path)
    assert mesh.document.json["extensionsUsed"] == ["KHR_texture_transform"]
    assert mesh.mesh.uvs is not None
    corners = mesh.mesh.uvs[mesh.mesh.faces if mesh.mesh.uv_faces is None else mesh.mesh.uv_faces]
    assert float(corners[..., 0].max()) == pytest.approx(0.5) and float(corners[..., 1].max()) == pytest.approx(0.5)


def test_faces_without_coordinates_have_the_materials_colour(tmp_path: Path) -> None:
    obj = TEXTURED + "v 5 0 0\nv 6 0 0\nv 5 1 0\nf 5 6 7\n"
    document = read_obj(write(tmp_path, obj, "newmtl skin\nKd 0 1 0\nmap_Kd t.png\n", t__png=png()))
    textured, plain = document.items("meshes")[0]["primitives"]
    assert "baseColorTexture" in base(document, textured["material"])
    assert "baseColorTexture" not in base(document, plain["material"]) and "TEXCOORD_0" not in plain["attributes"]
    assert base(document, plain["material"])["baseColorFactor"] == [0, 1, 0, 1]


def test_texture_formats_become_png(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), RED).save(stream, "TGA")
    mesh = open_user_mesh(write(tmp_path, mtl="newmtl skin\nmap_Kd t.tga\n", t__tga=stream.getvalue()))
    assert mesh.document.items("images")[0]["mimeType"] == "image/png"
    assert np.allclose(decode_image(mesh.document.image_bytes(0), "")[0, 0] * 255, RED)


# Vertex colours


@pytest.mark.parametrize(
    ("tails", "expected"),
    [
        (["1 0 0", "0 1 0", "0 0 0.5"], [(1, 0, 0), (0, 1, 0), (0, 0, 0.5)]),
        (["255 0 0", "0 51 0", "0 0 128"], [(1, 0, 0), (0, 0.2, 0), (0, 0, 128 / 255)]),
        (["1 0 0 1", "0 1 0 1", "0 0 1 1"], [(1, 0, 0), (0, 1, 0), (0, 0, 1)]),
        (["1 0 0 0.5", "1 1 0 0.5", "1 0 1 0.5"], [(1, 0, 0), (1, 1, 0), (1, 0, 1)]),
        (["1 1 0 0", "1 0 1 0", "1 0 0 0.5"], [(1, 0, 0), (0, 1, 0), (0, 0, 0.5)]),
        (["1 1 0 0 1", "1 0 1 0 1", "1 0 0 1 1"], [(1, 0, 0), (0, 1, 0), (0, 0, 1)]),
        (["", "0 1 0", ""], [(1, 1, 1), (0, 1, 0), (1, 1, 1)]),
        (["1", "0 1 0", "1"], [(1, 1, 1), (0, 1, 0), (1, 1, 1)]),
        (["nan nan nan", "0 1 0", "0 0 0.5"], [(0, 0.5, 0.25), (0, 1, 0), (0, 0, 0.5)]),
        (["nan nan nan"] * 3, [(1, 1, 1)] * 3),
        (["1", "1", "1"], [(1, 1, 1)] * 3),
    ],
)
def test_colours_of_vertices(tmp_path: Path, tails: list[str], expected: list[tuple[float, ...]]) -> None:
    lines = [f"v {x} {y} 0 {tail}\n" for (x, y), tail in zip(((0, 0), (1, 0), (0, 1)), tails, strict=True)]
    mesh = open_user_mesh(write(tmp_path, "".join(lines) + "f 1 2 3\n")).mesh
    assert mesh.colors is not None
    order = (mesh.vertices[:, 0] + 2 * mesh.vertices[:, 1]).long().numpy()  # whatever the reader's order
    np.testing.assert_allclose(mesh.colors.numpy(), np.array(expected)[order], atol=1e-5)


def test_polypaint_of_zbrush(tmp_path: Path) -> None:
    obj = "v 0 0 0\nv 1 0 0\nv 0 1 0\n#MRGB ff00ff00ff0000ff\n#MRGB ffff0000\nf 1 2 3\n"
    mesh = open_user_mesh(write(tmp_path, obj)).mesh
    assert mesh.colors is not None
    assert sorted(mesh.colors.int().tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


# Faces


def test_concave_polygons_are_not_fans(tmp_path: Path) -> None:
    dart = "v 0 0 0\nv 2 -2 0\nv 0 3 0\nv -2 -2 0\n"
    ell = "v 0 0 9\nv 3 0 9\nv 3 1 9\nv 1 1 9\nv 1 3 9\nv 0 3 9\n"
    assert area(open_user_mesh(write(tmp_path, dart + "f 2 3 4 1\n"))) == pytest.approx(6)
    assert area(open_user_mesh(write(tmp_path, dart + ell + "f 3 4 1 2\nf 7 8 9 10 5 6\n"))) == pytest.approx(6 + 5)


def test_odd_lines(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    obj = (
        "\ufeff# C:\\models\\\n" + QUAD + "v nan nan nan\nv -1.#IND 1.#QNAN -nan(ind)\n\n   \t\n"
        "o part # one\ns off\ng a b\nf 1 \\\n  2 3 # a comment\nl 1 2\np 3\nf -6/1 -4/3 \\\r\n-3/4\nf 1 1 2\nf 1 2\n"
        "cstype bezier\n"
        "vp 0.1 0.2\ncurv 0 1 1 2\nend\nfoo bar\n"
    )
    mesh = open_user_mesh(write(tmp_path, obj))
    assert area(mesh) == pytest.approx(1) and len(mesh.mesh.vertices) == 4
    assert len(warnings.messages) == 1 and "free-form" in warnings.messages[0]


def test_faces_with_vertices_that_are_no_numbers(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    obj = QUAD + "v nan 0 0\n" + "f 1 2 3\nf 1 3 4\n" * 20 + "f 1 2 5\n"
    assert len(open_user_mesh(write(tmp_path, obj)).mesh.vertices) == 4
    assert len(warnings.messages) == 1 and "1 of 41 faces" in warnings.messages[0]
    with pytest.raises(ValueError, match=r"a\.obj: 1 of 2 faces"):
        open_user_mesh(write(tmp_path, QUAD + "v nan 0 0\nf 1 2 3\nf 1 2 5\n"))


def test_coordinates_that_the_file_has_not_are_left_out(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    document = read_obj(write(tmp_path, QUAD + "f 1/1/1 2/2/2 3/3/3\nf 1/9/1 3/3/1 4/4/1\n"))
    assert len(warnings.messages) == 2
    assert [len(each["attributes"]) for each in document.items("meshes")[0]["primitives"]] == [3, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (QUAD, "points without a surface"),
        (QUAD + "l 1 2 3\n", "lines without a surface"),
        (QUAD + "cstype bspline\nsurf 0 1 0 1 1 2 3 4\nend\n", "free-form"),
        ("hello\n", "no Wavefront OBJ"),
        (QUAD + "f 1 2 99999999999999999999\n", "index 99999999999999999999"),
        (QUAD + "f 1 2 7\n", "a face has v 7 of 4"),
        (QUAD + "f 1 2 -9\n", "line 9.*index -9"),
        ("v 0 0 zero\n", "line 1"),
        ("v 0,5 0 1,5\n", "line 1: 'v 0,5"),
        ("v 0 # 0 0\nf 1 1 1\n", "v line with 1 numbers"),
        (QUAD + "f 1 2 1\n", "no triangle has an area"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        open_user_mesh(write(tmp_path, text))
    assert "a.obj" in str(error.value) and "\n" not in str(error.value)
