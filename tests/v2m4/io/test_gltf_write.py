"""Static GLB files: what is written is what is read, to the bit or within the quantisation."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.camera import Camera, Orbit
from v2m4.io._gltf_container import load_document
from v2m4.io.gltf import encode_texture, read_glb, split_at_seams, write_glb
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.mesh import Mesh


def _mesh(seed: int, vertices: int = 30, faces: int = 40, kind: str = "seams") -> Mesh:
    """Random triangles: "seams" has a texture with uv_faces, "uvs" one coordinate a vertex, "colors", or "plain"."""
    rng = torch.Generator().manual_seed(seed)
    points = torch.randn(vertices, 3, generator=rng)
    triangles = torch.stack([torch.randperm(vertices, generator=rng)[:3] for _ in range(faces)])
    texture = torch.randint(0, 256, (8, 16, 3), generator=rng).float() / 255
    if kind == "seams":
        uvs = torch.rand(50, 2, generator=rng)
        uvs[7] = uvs[3]  # two names for one coordinate
        return Mesh(points, triangles, uvs, torch.randint(0, 50, (faces, 3), generator=rng), texture)
    if kind == "uvs":
        return Mesh(points, triangles, torch.rand(vertices, 2, generator=rng), None, texture)
    if kind == "colors":
        colors = torch.randint(0, 256, (vertices, 3), generator=rng).float() / 255
        return Mesh(points, triangles, colors=colors)
    return Mesh(points, triangles)


def _corners(mesh: Mesh) -> np.ndarray:
    """What is drawn at each corner of each face, (F, 3, 3 + 2 or 3), independent of how vertices are indexed."""
    drawn = [mesh.vertices[mesh.faces]]
    if mesh.uvs is not None:
        drawn.append(mesh.uvs[mesh.faces if mesh.uv_faces is None else mesh.uv_faces])
    if mesh.colors is not None:
        drawn.append(mesh.colors[mesh.faces])
    return torch.cat(drawn, -1).numpy()


kinds = st.sampled_from(["seams", "uvs", "colors", "plain"])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), kind=kinds, weld=st.booleans())
def test_read_undoes_write(tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str, weld: bool) -> None:
    path = tmp_path_factory.mktemp("glb") / "mesh.glb"
    mesh = _mesh(seed, kind=kind)
    write_glb(path, mesh)
    back = read_glb(path, weld=weld)
    found, expected = _corners(back), _corners(mesh)
    exact = 3 if kind == "colors" else 5  # colours go through linear light and back
    np.testing.assert_array_equal(found[..., :exact], expected[..., :exact])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    if mesh.texture is not None:
        assert torch.equal(back.texture, mesh.texture)
    if weld:
        assert len(back.vertices) == len(torch.unique(mesh.vertices, dim=0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), kind=kinds)
def test_splitting_only_repeats_vertices(seed: int, kind: str) -> None:
    mesh = _mesh(seed, kind=kind)
    split = split_at_seams(mesh)
    count = len(mesh.vertices)
    np.testing.assert_array_equal(split.source[:count], np.arange(count))
    np.testing.assert_array_equal(split.source[split.faces], mesh.faces.numpy())
    if mesh.uvs is not None:
        uv_faces = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
        np.testing.assert_array_equal(split.uvs[split.faces], mesh.uvs[uv_faces].numpy())
        used = np.unique(split.faces)
        rows = np.concatenate([split.source[used, None], split.uvs[used]], 1)
        assert len(np.unique(rows, axis=0)) == len(used) or kind == "uvs"


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-10, 10),
    kind=kinds,
)
def test_quantised_positions_are_within_a_ten_thousandth_of_the_size(
    tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float, shift: float, kind: str
) -> None:
    path = tmp_path_factory.mktemp("glb") / "mesh.glb"
    mesh = _mesh(seed, kind=kind)
    mesh = mesh.with_vertices(mesh.vertices * scale + shift * scale)
    write_glb(path, mesh, quantize=True)
    assert load_document(path).json["extensionsRequired"] == ["KHR_mesh_quantization"]
    lower, upper = mesh.bounds()
    error = np.abs(_corners(read_glb(path))[..., :3] - _corners(mesh)[..., :3]).max()
    assert error < 1e-4 * float((upper - lower).max())


def test_every_8_bit_srgb_value_survives_linear_light() -> None:
    values = np.arange(256, dtype=np.float32) / 255
    np.testing.assert_array_equal(np.round(linear_to_srgb(srgb_to_linear(values)) * 255), np.arange(256))
    assert srgb_to_linear(np.float32(0.5)) == pytest.approx(0.21404, abs=1e-5)  # IEC 61966-2-1
    assert np.all(np.diff(srgb_to_linear(values)) > 0)


def test_vertex_colours_are_linear_in_the_file(tmp_path: Path) -> None:
    mesh = _mesh(3, kind="colors")
    write_glb(tmp_path / "a.glb", mesh)
    document = load_document(tmp_path / "a.glb")
    attributes = document.json["meshes"][0]["primitives"][0]["attributes"]
    stored = document.accessor(attributes["COLOR_0"])
    expected = np.where(mesh.colors <= 0.04045, mesh.colors / 12.92, ((mesh.colors + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert "TEXCOORD_0" not in attributes


def test_trimesh_reads_the_same_textured_mesh(tmp_path: Path) -> None:
    mesh = _mesh(4)
    write_glb(tmp_path / "a.glb", mesh)
    other = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    np.testing.assert_allclose(other.vertices[other.faces], mesh.vertices[mesh.faces].numpy(), atol=1e-6)
    uvs = mesh.uvs[mesh.uv_faces].numpy()
    np.testing.assert_allclose(other.visual.uv[other.faces][..., 0], uvs[..., 0], atol=1e-6)
    np.testing.assert_allclose(1 - other.visual.uv[other.faces][..., 1], uvs[..., 1], atol=1e-6)
    picture = np.array(other.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(picture, np.round(mesh.texture.numpy() * 255))


def test_normals_in_the_file_are_the_meshs_own(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(2)
    mesh = Mesh(torch.tensor(sphere.vertices, dtype=torch.float32), torch.tensor(sphere.faces))
    for quantize, tolerance in ((False, 1e-6), (True, 0.01)):
        write_glb(tmp_path / "a.glb", mesh, quantize=quantize)
        document = load_document(tmp_path / "a.glb")
        normals = document.accessor(document.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
        np.testing.assert_allclose(normals, mesh.normals().numpy(), atol=tolerance)
        assert (normals * sphere.vertices).sum(1).min() > 0.98


def test_a_vertex_without_a_face_has_a_normal_of_length_one(tmp_path: Path) -> None:
    mesh = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]]), torch.tensor([[0, 1, 2]]))
    write_glb(tmp_path / "a.glb", mesh)
    document = load_document(tmp_path / "a.glb")
    normals = document.accessor(document.json["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_large_meshes_get_wide_indices(tmp_path: Path) -> None:
    for count, code in ((65535, 5123), (65536, 5125)):
        faces = torch.tensor([[0, 1, count - 1]])
        write_glb(tmp_path / "a.glb", Mesh(torch.rand(count, 3), faces))
        document = load_document(tmp_path / "a.glb")
        accessor = document.json["accessors"][document.json["meshes"][0]["primitives"][0]["indices"]]
        assert accessor["componentType"] == code
        assert torch.equal(read_glb(tmp_path / "a.glb").faces, faces)


def test_jpeg_is_smaller_and_close(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 1, 128)
    wave = 0.5 + 0.3 * torch.sin(40 * ramp[:, None] * ramp[None]) * torch.cos(9 * ramp[:, None])
    texture = torch.stack([wave, ramp.expand(128, 128), ramp[:, None].expand(128, 128)], -1)
    png, jpeg = encode_texture(texture), encode_texture(texture, "jpeg")
    assert len(jpeg.data) < len(png.data)
    mesh = Mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]]), torch.rand(3, 2))
    write_glb(tmp_path / "a.glb", mesh, texture=jpeg)
    assert (read_glb(tmp_path / "a.glb").texture - texture).square().mean().sqrt() < 0.01


def test_unlit_and_double_sided_are_what_was_asked_for(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", _mesh(1), unlit=True, double_sided=False)
    document = load_document(tmp_path / "a.glb").json
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert document["materials"][0]["doubleSided"] is False
    write_glb(tmp_path / "a.glb", _mesh(1))
    document = load_document(tmp_path / "a.glb").json
    assert "extensionsUsed" not in document
    assert document["materials"][0]["doubleSided"] is True
    base = document["materials"][0]["pbrMetallicRoughness"]
    assert (base["metallicFactor"], base["roughnessFactor"]) == (0.0, 1.0)


def test_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_glb(tmp_path / f"{name}.glb", _mesh(5), quantize=True, camera=Orbit.of(yaw=1.0).camera())
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    with pytest.raises(ValueError, match="no faces"):
        write_glb(path, Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)))
    with pytest.raises(ValueError, match="no finite"):
        write_glb(path, Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])))
    with pytest.raises(ValueError, match="whole picture"):
        write_glb(path, _mesh(1), camera=Camera.identity().cropped((0, 0, 0.5, 1)))
    assert not path.exists()
