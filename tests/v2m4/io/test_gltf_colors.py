"""What colours a glTF surface is shown in, wherever the file has them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.v2m4.io.user_mesh_documents import GltfScene, cube_corners, poses_of
from v2m4.io._gltf_container import load_document
from v2m4.io._gltf_paint import MAX_SIDE, painted_faces
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.io.user_mesh import UserMesh, open_user_mesh
from v2m4.mesh import Mesh


def png(color: tuple[int, int, int]) -> bytes:
    return cv2.imencode(".png", np.full((8, 8, 3), color[::-1], np.uint8))[1].tobytes()


def cube(path: Path, material: dict[str, Any], colors: np.ndarray | None = None, *pictures: bytes) -> Path:
    """A cube with this material and vertex colours; textures are those pictures."""
    scene = GltfScene()
    positions, _, uvs, faces = cube_corners()
    for data in pictures:
        view = scene.builder.view(data)
        source = scene.builder.add("images", {"bufferView": view, "mimeType": "image/png"})
        scene.builder.add("textures", {"source": source})
    attributes = {"POSITION": scene.attribute(positions, True), "TEXCOORD_0": scene.attribute(uvs)}
    if colors is not None:
        attributes["COLOR_0"] = scene.attribute(colors)
    index = scene.builder.add("materials", material)
    primitive = {"attributes": attributes, "indices": scene.indices(faces), "material": index}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    used = list(material.get("extensions", {}))
    if used:
        scene.builder.json["extensionsUsed"] = used
    return scene.write(path)


def shown(mesh: Mesh, weights: np.ndarray | None = None) -> np.ndarray:
    """The colour (F, 3) in the middle of each face, or at these barycentric coordinates (3,)."""
    at = np.full(3, 1 / 3) if weights is None else weights
    if mesh.texture is None or mesh.uvs is None:
        assert mesh.colors is not None
        return np.einsum("k,fkc->fc", at, mesh.colors[mesh.faces].numpy())
    corners = mesh.uvs[mesh.faces if mesh.uv_faces is None else mesh.uv_faces].numpy()
    uvs = np.einsum("k,fkc->fc", at, corners)
    height, width = mesh.texture.shape[:2]
    x, y = (uvs * [width, height] - 0.5).T.astype(np.float32)
    return cv2.remap(mesh.texture.numpy(), x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]


def written(user_mesh: UserMesh, folder: Path) -> list[dict[str, Any]]:
    user_mesh.write_animation(folder / "out.glb", poses_of(user_mesh, 1), [0.0])
    return load_document(folder / "out.glb").items("materials")


def test_specular_glossiness_is_tracked_and_shown_by_every_viewer(tmp_path: Path) -> None:
    specular = {"diffuseTexture": {"index": 0}, "diffuseFactor": [1, 0.5, 1, 1], "glossinessFactor": 0.25}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": specular}, "name": "wood"}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material, None, png((200, 100, 50))))
    green = linear_to_srgb(srgb_to_linear(np.float32(100 / 255)) * 0.5)
    assert np.abs(shown(user_mesh.mesh) - [200 / 255, green, 50 / 255]).max() < 0.003
    (after,) = written(user_mesh, tmp_path)
    assert after["extensions"] == material["extensions"]
    base = {"metallicFactor": 0.0, "roughnessFactor": 0.75, "baseColorTexture": {"index": 0}}
    assert after["pbrMetallicRoughness"] == base | {"baseColorFactor": [1, 0.5, 1, 1]}


def test_specular_glossiness_leaves_a_base_colour_that_is_there(tmp_path: Path) -> None:
    specular = {"diffuseFactor": [1, 0, 0, 1]}
    base = {"baseColorFactor": [0, 1, 0, 1]}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": specular}, "pbrMetallicRoughness": base}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material))
    assert np.array_equal(shown(user_mesh.mesh), [[0, 1, 0]] * 12)
    assert written(user_mesh, tmp_path)[0]["pbrMetallicRoughness"] == base


@pytest.mark.parametrize("texture", [True, False])
def test_what_shines_out_of_a_black_material_is_its_colour(tmp_path: Path, texture: bool) -> None:
    material: dict[str, Any] = {"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}
    material |= {"emissiveFactor": [0.5, 0.5, 0], "extensions": {"KHR_materials_emissive_strength": {}}}
    material["extensions"]["KHR_materials_emissive_strength"]["emissiveStrength"] = 2.0
    if texture:
        material["emissiveTexture"] = {"index": 0}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material, None, png((255, 0, 255))))
    assert np.allclose(shown(user_mesh.mesh), [1, 0, 0] if texture else [1, 1, 0])
    assert written(user_mesh, tmp_path) == [material]


def test_unlit_materials_and_texture_coordinates_by_name(tmp_path: Path) -> None:
    """A transform that names texture coordinates which the mesh does not have: the reference's own are taken."""
    transform = {"KHR_texture_transform": {"texCoord": 3, "offset": [0.25, 0.0]}}
    base = {"baseColorTexture": {"index": 0, "extensions": transform}}
    material = {"pbrMetallicRoughness": base, "extensions": {"KHR_materials_unlit": {}}, "alphaMode": "MASK"}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material, None, png((0, 128, 255))))
    assert np.allclose(shown(user_mesh.mesh), [0, 128 / 255, 1])
    assert written(user_mesh, tmp_path) == [material]


def test_uniform_vertex_colours_multiply_a_texture(tmp_path: Path) -> None:
    colors = np.tile(np.array([[1, 0.5, 0]], np.float32), (24, 1))
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material, colors, png((255, 255, 255))))
    assert np.abs(shown(user_mesh.mesh) - linear_to_srgb(colors[0])).max() < 1e-5


def test_varying_vertex_colours_multiply_a_texture(tmp_path: Path) -> None:
    positions, _, uvs, faces = cube_corners()
    colors = (positions + 0.5).astype(np.float32)
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = (255, 255, 255), (128, 255, 64)
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    picture = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    mesh = open_user_mesh(cube(tmp_path / "a.glb", material, colors, picture)).mesh
    for weights in np.random.default_rng(0).dirichlet([1, 1, 1], 30):
        at = np.einsum("k,fkc->fc", weights, uvs[faces])
        away = np.abs(at[:, 0] - 0.5) > 0.1  # from the border of the picture's halves
        texel = pixels[0, (at[:, 0] * 64).astype(int)] / np.float32(255)
        expected = linear_to_srgb(srgb_to_linear(texel) * np.einsum("k,fkc->fc", weights, colors[faces]))
        if away.any():
            assert np.abs(shown(mesh, weights) - expected)[away].max() < 0.12  # interpolated as sRGB, not linear
            assert np.abs(shown(mesh, weights) - expected)[away].mean() < 0.02


def test_vertex_colours_on_one_of_two_primitives(tmp_path: Path) -> None:
    scene = GltfScene()
    positions, _, uvs, faces = cube_corners()
    colors = (positions + 0.5).astype(np.float32)
    view = scene.builder.view(png((0, 0, 255)))
    scene.builder.add("textures", {"source": scene.builder.add("images", {"bufferView": view})})
    base = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    shared = {"POSITION": scene.attribute(positions, True), "TEXCOORD_0": scene.attribute(uvs)}
    primitives = [
        {"attributes": shared, "indices": scene.indices(faces[:6]), "material": scene.builder.add("materials", base)},
        {"attributes": shared | {"COLOR_0": scene.attribute(colors)}, "indices": scene.indices(faces[6:])},
    ]
    scene.node(mesh=scene.builder.add("meshes", {"primitives": primitives}))
    mesh = open_user_mesh(scene.write(tmp_path / "a.glb")).mesh
    for weights, corner in ((np.array([1.0, 0, 0]), 0), (np.array([0, 1.0, 0]), 1), (np.array([0, 0, 1.0]), 2)):
        seen = shown(mesh, weights)
        assert np.allclose(seen[:6], [0, 0, 1], atol=1e-3)
        assert np.abs(seen[6:] - linear_to_srgb(colors[faces[6:, corner]])).max() < 1e-3


def test_faces_too_many_for_a_texture_are_not_painted() -> None:
    colors = np.zeros(((MAX_SIDE // 2) ** 2 + 1, 3, 1), np.float32)
    assert painted_faces(colors) is None
    found = painted_faces(np.eye(3, dtype=np.float32)[None])
    assert found is not None
    assert found[0].shape == (2, 2, 3)
    assert torch.tensor(found[1]).tolist() == [[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]]


def test_expressions_of_the_material_are_kept(tmp_path: Path) -> None:
    extensions = {"KHR_materials_clearcoat": {"clearcoatFactor": 0.5}, "ACME_paint": {"layers": [1, 2]}}
    material = {"extensions": extensions, "doubleSided": True, "alphaMode": "BLEND", "name": "lack"}
    user_mesh = open_user_mesh(cube(tmp_path / "a.glb", material))
    assert json.dumps(written(user_mesh, tmp_path)) == json.dumps([material])
