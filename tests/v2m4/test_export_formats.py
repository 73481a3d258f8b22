"""Every format that an animation is written in, opened again: in Blender, and by other readers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from tests.v2m4.io.blender_here import BLENDER, needs_blender
from tests.v2m4.io.blender_read_back import play
from tests.v2m4.io.user_mesh_documents import GltfScene, cube_corners, poses_of
from v2m4.camera import Orbit
from v2m4.export import ANIMATION, export_animation
from v2m4.export_formats import convert_with_blender, write_frame_files
from v2m4.export_rig import RIGGED
from v2m4.io.gltf_animation import read_animation
from v2m4.io.user_mesh import UserMesh, open_user_mesh
from v2m4.mesh import Mesh, MeshSequence
from v2m4.rotation import quaternion_from_matrix
from v2m4.workspace import Workspace

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated"
BY_BLENDER = ["fbx", "usd", "usdz", "abc"]
FPS, FRAMES = 12.5, 9
FIVE = [0, 2, 4, 5, 8]
CLOSE = 1e-4  # of the size


def result(folder: Path, textured: bool = True, frames: int = FRAMES) -> Workspace:
    """A box of four charts, or with colours, that bends and rises, as ``main.py`` writes it."""
    box = trimesh.creation.box((0.6, 1.0, 0.4)).subdivide().subdivide()
    rest = torch.tensor(box.vertices, dtype=torch.float32)
    faces = torch.tensor(box.faces)
    random = torch.Generator().manual_seed(4)
    uvs = torch.rand(len(rest) + 30, 2, generator=random)
    uv_faces = faces.clone()
    uv_faces[:10] = torch.arange(30).reshape(10, 3) + len(rest)
    down, right = torch.meshgrid(torch.linspace(0, 1, 16), torch.linspace(0, 1, 24), indexing="ij")
    picture = torch.stack([right, down, 1 - right * down], 2).mul(255).round() / 255
    colors = torch.rand(len(rest), 3, generator=random)
    mesh = Mesh(rest, faces, uvs, uv_faces, picture) if textured else Mesh(rest, faces, colors=colors)
    poses = []
    for step in range(frames):
        angle = 0.1 * step * rest[:, 1]
        x, y, z = rest.unbind(1)
        turned = [x * angle.cos() + z * angle.sin(), y + 0.05 * step, z * angle.cos() - x * angle.sin() + 3]
        poses.append(torch.stack(turned, 1))
    sequence = MeshSequence(torch.stack(poses), mesh, np.arange(frames, dtype=np.float64))
    workspace = Workspace(folder)
    names = [f"{step:02d}" for step in range(frames)]
    extrinsics = Orbit.of(yaw=0.5, pitch=0.3).camera().extrinsics[0]
    export_animation(workspace, sequence, names, range(frames), extrinsics, fov=0.7, aspect=1.0, fps=FPS)
    return workspace


def poses_in_camera(user_mesh: UserMesh) -> tuple[MeshSequence, torch.Tensor]:
    """Two poses of a user mesh in the camera's space, and the similarity from its file's world to that space."""
    to_camera = Orbit.of(yaw=0.4, pitch=0.2, radius=2.0).camera().extrinsics[0] @ user_mesh.mesh.normalizing()
    poses = [torch.as_tensor(pose, dtype=torch.float32) for pose in poses_of(user_mesh, 2)]
    in_camera = [pose @ to_camera[:3, :3].T + to_camera[:3, 3] for pose in poses]
    return MeshSequence(torch.stack(in_camera), user_mesh.mesh, np.arange(2, dtype=np.float64)), to_camera


def largest_distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest distance from a point of either set to the nearest of the other, in sizes of the second."""
    there, back = cKDTree(found).query(expected)[0].max(), cKDTree(expected).query(found)[0].max()
    return max(there, back) / float(np.ptp(expected, axis=0).max())


def check_vertices(played: dict[str, np.ndarray], glb: Path, fps: float, frames: list[int]) -> None:
    truth = read_animation(glb, times=np.array(frames) / fps).vertices.numpy()
    for frame, expected in zip(frames, truth, strict=True):
        assert largest_distance(played[str(frame)], expected) < CLOSE, frame


def check_texture_coordinates(corners: np.ndarray, uvs: np.ndarray, mesh: Mesh) -> None:
    """Corners of faces (C, 3) and their texture coordinates (C, 2), v upwards, are those of the mesh."""
    faces = mesh.faces.numpy().reshape(-1)
    uv_faces = faces if mesh.uv_faces is None else mesh.uv_faces.numpy().reshape(-1)
    mine = mesh.uvs.numpy()[uv_faces] * [1, -1] + [0, 1]
    expected = np.concatenate([mesh.vertices.numpy()[faces], mine], 1)
    assert cKDTree(np.concatenate([corners, uvs], 1)).query(expected)[0].max() < 2e-4


@needs_blender
@pytest.mark.slow
def test_blender_plays_every_format_with_texture_and_rate(tmp_path: Path) -> None:
    workspace = result(tmp_path)
    glb = tmp_path / ANIMATION
    convert_with_blender(workspace, glb, BY_BLENDER, BLENDER, fps=FPS, frames=FRAMES)
    assert not list(tmp_path.glob(".*"))
    truth = read_animation(glb, times=[0.0])
    (tmp_path / "elsewhere").mkdir()
    for name in BY_BLENDER:
        file = tmp_path / f"{ANIMATION[:-4]}.{name}"
        if name in ("fbx", "usdz"):  # everything is in the one file
            file = Path(shutil.copy(file, tmp_path / "elsewhere"))
        played = play(file, FIVE, FPS, tmp_path)
        check_vertices(played, glb, FPS, FIVE)
        assert float(played["fps"]) == pytest.approx(FPS, rel=1e-4), name
        check_texture_coordinates(played["corners0"], played["uvs"], truth[0])
        if name in ("usd", "usdz"):
            assert str(played["up"]) == "Y" and played["playback"] == played["fps"]
        if name == "abc":  # the format has no materials
            assert played["frame_end"] == FRAMES - 1
            continue
        assert np.abs(played["picture"] - truth.mesh.texture.numpy()).max() < 0.01, name
    times = {name: (tmp_path / f"output_animation.{name}").stat().st_mtime_ns for name in BY_BLENDER}
    (tmp_path / "output_animation.usd").unlink()
    convert_with_blender(Workspace(tmp_path), glb, BY_BLENDER, BLENDER, fps=FPS, frames=FRAMES)
    for name in BY_BLENDER:  # only what is missing is made again
        again = (tmp_path / f"output_animation.{name}").stat().st_mtime_ns
        assert (again == times[name]) == (name != "usd"), name


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("textured", [True, False])
def test_blender_opens_the_files_of_single_frames(tmp_path: Path, textured: bool) -> None:
    workspace = result(tmp_path, textured)
    write_frame_files(workspace, tmp_path / ANIMATION, ["obj", "ply"])
    truth = read_animation(tmp_path / ANIMATION, times=np.array(FIVE) / FPS, weld=True)
    for number, frame in enumerate(FIVE):
        for name in ("obj", "ply"):
            file = tmp_path / f"output_animation_{name}" / f"{frame:02d}.{name}"
            played = play(file, [0], FPS, tmp_path)
            assert largest_distance(played["0"], truth.vertices[number].numpy()) < 1e-6
            if textured:
                check_texture_coordinates(played["corners0"], played["uvs"], truth[number])
                continue
            nearest = cKDTree(truth.vertices[number].numpy()).query(played["0"])[1]
            assert np.abs(played["colors"] - truth.mesh.colors.numpy()[nearest]).max() < 0.01
        assert not textured or play(file.parents[1] / "output_animation_obj" / "00.obj", [0], FPS, tmp_path)["pictures"]


@pytest.mark.parametrize("textured", [True, False])
def test_other_readers_open_the_files_of_single_frames(tmp_path: Path, textured: bool) -> None:
    workspace = result(tmp_path, textured)
    (tmp_path / "output_animation_obj").mkdir()
    (tmp_path / "output_animation_obj" / "old.obj").write_text("of an earlier run")
    write_frame_files(workspace, tmp_path / ANIMATION, ["obj", "ply"])
    truth = read_animation(tmp_path / ANIMATION, weld=True)
    mesh = truth[3]
    assert len(list((tmp_path / "output_animation_ply").glob("*.ply"))) == FRAMES
    assert not (tmp_path / "output_animation_obj" / "old.obj").exists()
    for name in ("obj", "ply"):
        file = tmp_path / f"output_animation_{name}" / f"03.{name}"
        read = trimesh.load(file, process=False, maintain_order=True)
        assert largest_distance(read.vertices, mesh.vertices.numpy()) < 1e-6
        assert len(read.faces) == len(mesh.faces) and read.volume == pytest.approx(
            trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).volume
        )
        again = open_user_mesh(file).mesh
        assert largest_distance(again.vertices.numpy(), mesh.vertices.numpy()) < 1e-6
        if textured:
            assert np.abs(again.texture.numpy() - mesh.texture.numpy()).max() < 0.01
            found = again.faces.numpy().reshape(-1)
            uv_faces = found if again.uv_faces is None else again.uv_faces.numpy().reshape(-1)
            uvs = again.uvs.numpy()[uv_faces] * [1, -1] + [0, 1]
            check_texture_coordinates(again.vertices.numpy()[found], uvs, mesh)
        else:
            nearest = cKDTree(mesh.vertices.numpy()).query(again.vertices.numpy())[1]
            assert np.abs(again.colors.numpy() - mesh.colors.numpy()[nearest]).max() < 0.01
    text = (tmp_path / "output_animation_obj" / "03.obj").read_text()
    assert text.count("\nv ") == len(mesh.vertices) and ("mtllib material.mtl" in text) == textured


def skinned_box(path: Path, frames: int, fps: float) -> None:
    """A box of two bones: the upper one bends, with a key at every frame."""
    box = trimesh.creation.box((0.4, 2.0, 0.4)).subdivide().subdivide()
    scene = GltfScene()
    height = (box.vertices[:, 1:2] + 1) / 2
    attributes = {
        "POSITION": scene.attribute(box.vertices, True),
        "NORMAL": scene.attribute(np.array(box.vertex_normals)),
        "JOINTS_0": scene.attribute(np.tile(np.array([[0, 1, 0, 0]], np.uint8), (len(box.vertices), 1))),
        "WEIGHTS_0": scene.attribute(np.concatenate([1 - height, height, 0 * height, 0 * height], 1)),
    }
    primitive = {"attributes": attributes, "indices": scene.indices(box.faces), "material": scene.textured(".png", 90)}
    mesh = scene.builder.add("meshes", {"primitives": [primitive]})
    upper = scene.node(root=False, name="upper", translation=[0.0, 1.0, 0.0])
    lower = scene.node(name="lower", translation=[0.0, -1.0, 0.0], children=[upper])
    inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    inverse[0, 3, 1] = 1.0  # columns first: the lower joint is at y = -1, the upper at 0
    skin = {"joints": [lower, upper], "inverseBindMatrices": scene.builder.accessor(inverse.reshape(2, 16))}
    scene.node(name="beam", mesh=mesh, skin=scene.builder.add("skins", skin))
    turns = [trimesh.transformations.rotation_matrix(0.15 * step, [0.2, 0.3, 1.0])[:3, :3] for step in range(frames)]
    rotations = np.stack([np.asarray(quaternion_from_matrix(torch.tensor(turn))) for turn in turns])
    sampler = {
        "input": scene.builder.accessor((np.arange(frames) / fps).astype(np.float32), bounds=True),
        "output": scene.builder.accessor(rotations.astype(np.float32)),
    }
    channel = {"sampler": 0, "target": {"node": upper, "path": "rotation"}}
    scene.builder.add("animations", {"name": "bend", "samplers": [sampler], "channels": [channel]})
    scene.builder.add("scenes", {"nodes": scene.roots})
    scene.builder.json["scene"] = 0
    path.write_bytes(scene.builder.tobytes())


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("source", ["by hand", "Fox.glb"])
def test_fbx_has_the_skeleton_of_the_rigged_file(tmp_path: Path, source: str) -> None:
    workspace = result(tmp_path)
    if source == "by hand":
        skinned_box(tmp_path / RIGGED, FRAMES, FPS)
        bones, fps = 2, FPS
    else:
        if not (DATA / source).is_file():
            pytest.skip(f"no {source} at {DATA}")
        shutil.copy(DATA / source, tmp_path / RIGGED)
        bones, fps = 24, 24.0
    convert_with_blender(workspace, tmp_path / ANIMATION, ["fbx", "usd"], BLENDER, fps=fps, frames=FRAMES)
    played = play(tmp_path / "output_animation.fbx", FIVE, fps, tmp_path)
    assert played["bones"] == bones and played["shape_keys"] == 0 and played["objects"] == 1
    assert played["pictures"] == 1 and float(played["fps"]) == pytest.approx(fps, rel=1e-4)
    check_vertices(played, tmp_path / RIGGED, fps, FIVE)
    played = play(tmp_path / "output_animation.usd", [0, 3], fps, tmp_path)
    check_vertices(played, tmp_path / ANIMATION, FPS, [0]) if fps != FPS else check_vertices(
        played, tmp_path / ANIMATION, FPS, [0, 3]
    )


@needs_blender
@pytest.mark.slow
def test_an_animation_with_a_skin_keeps_its_skeleton(tmp_path: Path) -> None:
    skinned_box(tmp_path / ANIMATION, FRAMES, FPS)
    convert_with_blender(Workspace(tmp_path), tmp_path / ANIMATION, BY_BLENDER, BLENDER, fps=FPS, frames=FRAMES)
    for name in BY_BLENDER:
        played = play(tmp_path / f"output_animation.{name}", FIVE, FPS, tmp_path)
        check_vertices(played, tmp_path / ANIMATION, FPS, FIVE)
        assert played["bones"] == (0 if name == "abc" else 2), name


@needs_blender
@pytest.mark.slow
def test_a_user_mesh_of_many_parts_comes_through(tmp_path: Path) -> None:
    source = DATA / "RobotExpressive.glb"
    if not source.is_file():
        pytest.skip(f"no RobotExpressive.glb at {DATA}")
    user_mesh = open_user_mesh(source)
    glb = tmp_path / ANIMATION
    user_mesh.write_animation(glb, poses_of(user_mesh, FRAMES), np.arange(FRAMES) / FPS)
    convert_with_blender(Workspace(tmp_path), glb, BY_BLENDER, BLENDER, fps=FPS, frames=FRAMES)
    parts = play(glb, [0], FPS, tmp_path)
    for name in BY_BLENDER:
        played = play(tmp_path / f"output_animation.{name}", FIVE, FPS, tmp_path)
        check_vertices(played, glb, FPS, FIVE)
        assert played["objects"] == parts["objects"], name
        assert played["materials"] == (0 if name == "abc" else parts["materials"]), name


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("unlit", [False, True])
def test_a_picture_multiplied_by_a_colour_is_in_fbx_and_usd(tmp_path: Path, unlit: bool) -> None:
    scene = GltfScene()
    positions, normals, uvs, faces = cube_corners()
    material = scene.textured(".png", 40)
    scene.builder.json["materials"][material]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1.0, 0.25, 1.0]
    if unlit:
        scene.builder.use_extension("KHR_materials_unlit", required=False)
        scene.builder.json["materials"][material]["extensions"] = {"KHR_materials_unlit": {}}
    attributes = {
        "POSITION": scene.attribute(positions, True),
        "NORMAL": scene.attribute(normals),
        "TEXCOORD_0": scene.attribute(uvs),
    }
    primitive = {"attributes": attributes, "indices": scene.indices(faces), "material": material}
    scene.node(mesh=scene.builder.add("meshes", {"primitives": [primitive]}))
    scene.builder.add("scenes", {"nodes": scene.roots})
    scene.builder.json["scene"] = 0
    glb = tmp_path / ANIMATION
    glb.write_bytes(scene.builder.tobytes())
    convert_with_blender(Workspace(tmp_path), glb, ["fbx", "usdz"], BLENDER, fps=FPS, frames=1)
    pixels = np.full((8, 8), 40.0)
    pixels[2:5, 3:6] = 215.0
    linear = ((pixels / 255 + 0.055) / 1.055) ** 2.4
    expected = 1.055 * (linear[..., None] * [0.5, 1.0, 0.25]) ** (1 / 2.4) - 0.055
    for name in ("fbx", "usdz"):
        played = play(tmp_path / f"output_animation.{name}", [0], FPS, tmp_path)
        assert np.abs(played["picture"] - expected).max() < 0.01, name


@needs_blender
def test_a_damaged_animation_is_told_with_blenders_last_line(tmp_path: Path) -> None:
    (tmp_path / ANIMATION).write_bytes(b"glTF" + bytes(40))
    with pytest.raises(RuntimeError, match=r"Blender .* wrote no output_animation\.abc \(exit code \d+\): \S"):
        convert_with_blender(Workspace(tmp_path), tmp_path / ANIMATION, ["abc"], BLENDER, fps=FPS, frames=2)
    assert "output_animation.abc" not in json.dumps(Workspace(tmp_path).manifest)
