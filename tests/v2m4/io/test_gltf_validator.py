"""Khronos' gltf-validator finds nothing to complain about in any kind of file that we write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from evaluation import gltf_validator
from tests.v2m4.io.user_mesh_documents import (
    GltfScene,
    cube_corners,
    instances,
    picture,
    poses_of,
    rewritten,
    two_parts,
)
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.export import export_animation, write_mesh_glb_in_world
from v2m4.export_user_mesh import export_user_mesh
from v2m4.io.gltf import encode_texture, write_animation_glb, write_glb
from v2m4.io.gltf_animation import list_animations
from v2m4.io.gltf_web import gltf_transform_command, write_web_glb
from v2m4.io.user_mesh import open_user_mesh
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import Workspace

pytestmark = pytest.mark.skipif(not gltf_validator.is_installed(), reason=gltf_validator.MISSING)


def _ball() -> Mesh:
    rng = torch.Generator().manual_seed(0)
    ball = trimesh.creation.icosphere(3)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    # Two more: one that no face uses, and one that makes a face without an area.
    vertices = torch.cat([vertices, torch.full((1, 3), 0.2), vertices[1:2]])
    faces = torch.tensor(np.concatenate([ball.faces, [[0, 1, len(vertices) - 1]]]))
    uvs = torch.rand(200, 2, generator=rng)
    return Mesh(
        vertices,
        faces,
        uvs,
        torch.randint(0, 200, faces.shape, generator=rng),
        torch.rand(32, 16, 3, generator=rng),
        torch.rand(len(vertices), 3, generator=rng),
    )


def test_no_errors_warnings_or_remarks(tmp_path: Path) -> None:
    mesh = _ball()
    camera = Orbit.of(yaw=0.7, pitch=0.3).camera(aspect=1.5)
    plain = Mesh(mesh.vertices, mesh.faces)
    colored = Mesh(mesh.vertices, mesh.faces, colors=mesh.colors)
    rng = torch.Generator().manual_seed(1)
    poses = torch.stack(
        [mesh.vertices, *(mesh.vertices + torch.randn(len(mesh.vertices), 3, generator=rng) for _ in "ab")]
    )
    paths = []
    for quantize in (False, True):
        for name, kind in (("textured", mesh), ("colored", colored), ("plain", plain)):
            paths.append(tmp_path / f"{name}_{quantize}.glb")
            write_glb(paths[-1], kind, quantize=quantize, camera=camera)
            paths.append(tmp_path / f"{name}_{quantize}_animated.glb")
            moving = MeshSequence(poses, kind, np.array([0.0, 0.5, 0.7]))
            write_animation_glb(paths[-1], moving, camera, quantize=quantize)
    paths += [tmp_path / "one_pose.glb", tmp_path / "jpeg.glb", tmp_path / "unlit.glb"]
    write_animation_glb(paths[-3], MeshSequence(poses[:1], mesh, np.zeros(1)))
    write_glb(paths[-2], mesh, texture=encode_texture(mesh.texture, "jpeg"))
    write_glb(paths[-1], mesh, unlit=True, double_sided=False)
    for path, issues in zip(paths, gltf_validator.validate(paths), strict=True):
        assert issues["messages"] == [], path.name


def _morphed(path: Path) -> Path:
    """Two primitives and points with two old morph targets, one weight active, and a clip of the weights."""
    scene = GltfScene()
    positions, normals, _, faces = cube_corners()
    attributes = {"POSITION": scene.attribute(positions, True), "NORMAL": scene.attribute(normals)}
    grown = {"POSITION": scene.attribute(positions * 0.5, True), "NORMAL": scene.attribute(normals * 0)}
    lifted = {"POSITION": scene.attribute(positions * [0, 2, 0], True)}
    primitives: list[dict[str, Any]] = [
        {"attributes": attributes, "indices": scene.indices(part), "targets": [grown, lifted]}
        for part in (faces[:6], faces[6:])
    ]
    primitives.append({"attributes": {"POSITION": attributes["POSITION"]}, "mode": 0, "targets": [lifted, lifted]})
    mesh = {"primitives": primitives, "weights": [0.5, 0], "extras": {"targetNames": ["grown", "lifted"]}}
    scene.node(mesh=scene.builder.add("meshes", mesh), weights=[0.0, 0.25])
    sampler = {
        "input": scene.builder.accessor(np.array([0, 1], np.float32), bounds=True),
        "output": scene.builder.accessor(np.array([0, 0, 1, 1], np.float32)),
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    scene.builder.add("animations", {"samplers": [sampler], "channels": [channel]})
    return scene.write(path)


def _broken(path: Path) -> Path:
    """Colours of 0 to 255 with a NaN, an unused vertex that is NaN, a picture that is missing and one that is a BMP."""
    scene = GltfScene()
    positions, normals, uvs, faces = cube_corners()
    positions = np.concatenate([positions, [[np.nan] * 3]]).astype(np.float32)
    colors = np.full((25, 3), 200, np.float32)
    colors[3] = np.nan
    attributes = {
        "POSITION": scene.attribute(positions),
        "NORMAL": scene.attribute(np.concatenate([normals, normals[:1]])),
        "COLOR_0": scene.attribute(colors),
        "TEXCOORD_0": scene.attribute(np.concatenate([uvs, uvs[:1]])),
    }
    view = scene.builder.view(picture(".bmp", 40))
    for image in ({"uri": "gone.png"}, {"bufferView": view, "mimeType": "image/bmp"}):
        scene.builder.add("textures", {"source": scene.builder.add("images", image)})
    base = {"baseColorTexture": {"index": 1}}
    material = {"pbrMetallicRoughness": base, "emissiveTexture": {"index": 0}, "emissiveFactor": [0.5, 0.5, 0.5]}
    index = scene.builder.add("materials", material)
    primitive = {"attributes": attributes, "indices": scene.indices(faces), "material": index}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    return scene.write(path)


def _without_targets(path: Path) -> Path:
    def change(document: dict[str, Any]) -> None:
        for view in document["bufferViews"]:
            view.pop("target", None)

    return rewritten(two_parts(path.with_name("targets.glb")), path, change)


@pytest.mark.parametrize("make", [two_parts, instances, _morphed, _broken, _without_targets])
def test_no_errors_or_warnings_on_user_meshes(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    user_mesh = open_user_mesh(make(tmp_path / "a.glb"))
    poses = poses_of(user_mesh, 3)
    paths = [tmp_path / "moving.glb", tmp_path / "exact.glb", tmp_path / "still.glb"]
    user_mesh.write_animation(paths[0], poses, [0.0, 0.5, 0.7])
    user_mesh.write_animation(paths[1], poses, [0.0, 0.5, 0.7], quantize=False)
    user_mesh.write_static(paths[2], poses[1])
    for path, issues in zip(paths, gltf_validator.validate(paths), strict=True):
        remarks = {message["code"] for message in issues["messages"]}
        assert remarks <= {"UNUSED_OBJECT", "UNUSED_MESH_TANGENT"}, path.name


def test_no_errors_or_warnings_in_what_the_exporters_write(tmp_path: Path) -> None:
    """Both exporters, with poses left out of the animation; and the copy for web pages where its tool is there."""
    mesh = _ball()
    camera = Orbit.of(yaw=0.7, pitch=0.3).camera()
    pose = camera.to_camera_space(mesh.vertices)[0]
    poses = torch.stack([pose + torch.tensor([0.1 * step, 0, 0]) for step in range(4)])
    sequence, names = MeshSequence(poses, mesh.with_vertices(pose), np.arange(4.0)), list("abcd")
    options: dict[str, Any] = {"fov": DEFAULT_FOV, "aspect": 1.0, "fps": 8.0, "tolerance": 0.001}
    own = Workspace(tmp_path / "own")
    write_mesh_glb_in_world(own, "a_consistency_sample.glb", sequence[0], camera.extrinsics[0])
    exported = export_animation(own, sequence, names, np.arange(4), camera.extrinsics[0], **options)
    user_mesh = open_user_mesh(two_parts(tmp_path / "parts.glb"))
    moved = torch.stack([user_mesh.mesh.vertices + torch.tensor([0, 0, 2 + 0.1 * step]) for step in range(4)])
    theirs = MeshSequence(moved, user_mesh.mesh, np.arange(4.0))
    export_user_mesh(Workspace(tmp_path / "user"), user_mesh, theirs, names, torch.eye(4), **options)
    if gltf_transform_command() is not None:
        write_web_glb(exported, tmp_path / "own" / "output_animation_web.glb")
    paths = [*(tmp_path / "own").glob("*.glb"), *(tmp_path / "user").glob("*.glb")]
    assert len(paths) >= 9
    for path in paths:
        if path.name == "output_animation.glb":
            assert len(list_animations(path)[0].key_times) == 2
    assert gltf_validator.errors_and_warnings(paths) == {}
