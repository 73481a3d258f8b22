"""The exported files agree with each other, with the sequence and with the video's camera."""

import io
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from v2m4.camera import Camera, Orbit
from v2m4.export import camera_to_world, export_animation, read_cameras, to_world, write_mesh_glb_in_world
from v2m4.io._gltf_container import load_document
from v2m4.io._gltf_nodes import local_matrix
from v2m4.io.gltf import read_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import Workspace

NAMES = ["a", "b", "c", "d", "e", "f"]
KEYS = np.array([0.0, 2.0, 5.0])
FOV, ASPECT, FPS = 0.8, 1.4, 12.5
ORBIT = Orbit.of(yaw=0.6, pitch=0.25, radius=2.2, look_at=(0.05, 0.1, 0.0))


def _world() -> MeshSequence:
    """Key frames in the upright world; the rest pose is none of them."""
    rng = torch.Generator().manual_seed(0)
    ball = trimesh.creation.icosphere(2)
    rest = torch.tensor(ball.vertices, dtype=torch.float32) * 0.4
    faces = torch.tensor(ball.faces)
    mesh = Mesh(
        rest,
        faces,
        torch.rand(200, 2, generator=rng),
        torch.randint(0, 200, faces.shape, generator=rng),
        torch.randint(0, 256, (16, 16, 3), generator=rng).float() / 255,
    )
    return MeshSequence(rest + 0.05 * torch.randn(3, *rest.shape, generator=rng), mesh, KEYS)


def _seen(world: MeshSequence) -> MeshSequence:
    """The same in the video camera's space, as the stages hand it over."""
    camera = ORBIT.camera()
    rest = camera.to_camera_space(world.mesh.vertices)[0]
    poses = torch.stack([camera.to_camera_space(pose)[0] for pose in world.vertices])
    return MeshSequence(poses, world.mesh.with_vertices(rest), world.times)


def _export(folder: Path, world: MeshSequence | None = None) -> Workspace:
    workspace = Workspace(folder)
    sequence = _seen(world or _world())
    extrinsics = ORBIT.camera().extrinsics[0]
    export_animation(workspace, sequence, NAMES, np.arange(6), extrinsics, fov=FOV, aspect=ASPECT, fps=FPS)
    return workspace


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return _export(tmp_path_factory.mktemp("exported"))


def test_every_file_of_the_design_is_there(exported: Workspace) -> None:
    names = {f"{name}_texture_consistency_sample.glb" for name in NAMES}
    names |= {"output_mesh.glb", "output_vertex_offsets.npy", "output_texture.png", "output_animation.glb"}
    names |= {"extrinsics_list.pkl", "cameras.json", "manifest.json"}
    assert {path.name for path in exported.root.iterdir()} == names


def test_frames_are_upright_and_interpolated(exported: Workspace) -> None:
    frames = _world().sampled(np.arange(6)).vertices
    for name, expected in zip(NAMES, frames, strict=True):
        mesh = read_glb(exported.path(f"{name}_texture_consistency_sample.glb"), weld=True)
        assert len(mesh.vertices) == len(expected)
        np.testing.assert_allclose(mesh.vertices, expected, atol=2e-6)


def test_offsets_move_the_rest_mesh_to_each_frame(exported: Workspace) -> None:
    offsets = np.load(exported.path("output_vertex_offsets.npy"))
    rest = trimesh.load_mesh(exported.path("output_mesh.glb"), process=False)
    frames = _world().sampled(np.arange(6)).vertices.numpy()
    assert offsets.dtype == np.float32
    assert offsets.shape == (6, len(rest.vertices), 3)
    count = frames.shape[1]
    np.testing.assert_allclose((rest.vertices + offsets)[:, :count], frames, atol=2e-6)
    for name, offset in zip(NAMES, offsets, strict=True):
        mesh = read_glb(exported.path(f"{name}_texture_consistency_sample.glb"))
        np.testing.assert_allclose(rest.vertices + offset, mesh.vertices, atol=2e-6)


def test_animation_has_seconds_names_and_the_videos_camera(exported: Workspace) -> None:
    document = load_document(exported.path("output_animation.glb"))
    (animation,) = document.json["animations"]
    times = document.accessor(animation["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(times, KEYS / FPS, rtol=1e-6)
    assert document.json["meshes"][0]["extras"]["targetNames"] == ["a", "c", "f"]
    (node,) = (node for node in document.json["nodes"] if "camera" in node)
    np.testing.assert_allclose(local_matrix(node)[:3, 3], ORBIT.camera().positions()[0], atol=1e-5)
    assert local_matrix(node)[1, 1] > 0.9  # the camera stands upright
    lens = document.json["cameras"][0]["perspective"]
    assert (lens["yfov"], lens["aspectRatio"]) == pytest.approx((FOV, ASPECT))


def test_exported_world_projects_to_where_the_video_shows_it(exported: Workspace) -> None:
    video = Camera.identity(FOV, ASPECT)
    truth, _ = video.project(_seen(_world()).sampled(np.arange(6)).vertices[3], (500, 700))
    stored = read_cameras(exported.path("cameras.json"))
    assert (stored.names, stored.fps) == (NAMES, FPS)
    frame = read_glb(exported.path("d_texture_consistency_sample.glb"), weld=True)
    found, _ = stored.cameras[3].project(frame.vertices, (500, 700))
    np.testing.assert_allclose(found, truth, atol=0.01)


def test_pickle_and_json_hold_the_same_cameras(exported: Workspace) -> None:
    with exported.path("extrinsics_list.pkl").open("rb") as stream:
        matrices = pickle.load(stream)
    assert isinstance(matrices, list)
    stored = json.loads(exported.path("cameras.json").read_text())
    assert len(matrices) == len(NAMES)
    for matrix, frame in zip(matrices, stored["frames"], strict=True):
        np.testing.assert_array_equal(matrix, np.array(frame["extrinsics"], dtype=np.float32))
    np.testing.assert_allclose(matrices[0], ORBIT.camera().extrinsics[0], atol=1e-7)


def test_texture_is_stored_exactly(exported: Workspace) -> None:
    picture = cv2.imread(str(exported.path("output_texture.png")))[..., ::-1]
    np.testing.assert_array_equal(picture, np.round(_world().mesh.texture.numpy() * 255))
    for name in ("output_mesh.glb", "output_animation.glb"):
        assert torch.equal(read_glb(exported.path(name)).texture, _world().mesh.texture)


def _files(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.root.iterdir() if path.name != "manifest.json"}


def test_the_same_work_gives_the_same_bytes_and_is_not_redone(exported: Workspace, tmp_path: Path) -> None:
    workspace = _export(tmp_path)
    assert _files(workspace) == _files(exported)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != "manifest.json"}
    _export(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_killed_export_goes_on_and_other_content_is_stale(exported: Workspace, tmp_path: Path) -> None:
    _export(tmp_path)
    (tmp_path / "c_texture_consistency_sample.glb").unlink()
    (tmp_path / "output_mesh.glb").write_bytes(b"half")
    assert _files(_export(tmp_path)) == _files(exported)
    world = _world()
    moved = MeshSequence(world.vertices + 0.1, world.mesh, world.times)
    again = _files(_export(tmp_path, moved))
    assert again["output_animation.glb"] != _files(exported)["output_animation.glb"]
    np.testing.assert_allclose(
        np.load(io.BytesIO(again["output_vertex_offsets.npy"])) - np.load(exported.path("output_vertex_offsets.npy")),
        0.1,
        atol=1e-5,
    )


def test_one_mesh_of_a_stage_is_written_upright(tmp_path: Path) -> None:
    world = _world()
    workspace = Workspace(tmp_path)
    extrinsics = ORBIT.camera().extrinsics[0]
    path = write_mesh_glb_in_world(workspace, "0_consistency_sample.glb", _seen(world)[1], extrinsics)
    np.testing.assert_allclose(read_glb(path, weld=True).vertices, world.vertices[1], atol=2e-6)
    before = path.stat().st_mtime_ns
    write_mesh_glb_in_world(workspace, "0_consistency_sample.glb", _seen(world)[1], extrinsics)
    assert path.stat().st_mtime_ns == before
    write_mesh_glb_in_world(workspace, "0_consistency_sample.glb", _seen(world)[2], extrinsics)
    np.testing.assert_allclose(read_glb(path, weld=True).vertices, world.vertices[2], atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(yaw=st.floats(-3, 3), pitch=st.floats(-1.4, 1.4), radius=st.floats(0.5, 5))
def test_camera_to_world_undoes_the_extrinsics(yaw: float, pitch: float, radius: float) -> None:
    camera = Orbit.of(yaw, pitch, radius).camera()
    np.testing.assert_allclose(
        camera_to_world(camera.extrinsics[0]) @ camera.extrinsics[0].double(), np.eye(4), atol=1e-5
    )
    world = _world()
    seen = MeshSequence(camera.to_camera_space(world.vertices), world.mesh, world.times)
    np.testing.assert_allclose(to_world(seen, camera.extrinsics[0]).vertices, world.vertices, atol=1e-5)


def test_bad_input_is_an_error(tmp_path: Path) -> None:
    world = _world()
    workspace = Workspace(tmp_path)
    options = {"fov": FOV, "aspect": ASPECT, "fps": FPS}
    with pytest.raises(ValueError, match="6 names for 5 times"):
        export_animation(workspace, world, NAMES, np.arange(5), torch.eye(4), **options)
    with pytest.raises(ValueError, match="expected a rotation"):
        export_animation(workspace, world, NAMES, np.arange(6), torch.diag(torch.tensor([1.0, 1, -1, 1])), **options)
    (tmp_path / "cameras.json").write_text('{"frames": [{}]}')
    with pytest.raises(ValueError, match=r"cameras\.json"):
        read_cameras(tmp_path / "cameras.json")


def test_times_of_the_frames_are_those_of_the_keys_and_cameras(tmp_path):
    """A variable rate, whose first frame is not at 0."""
    workspace, sequence = Workspace(tmp_path), _seen(_world())
    seconds = np.array([0.2, 0.3, 0.35, 0.9, 1.0, 1.5])
    extrinsics = ORBIT.camera().extrinsics[0]
    export_animation(
        workspace, sequence, NAMES, np.arange(6), extrinsics, fov=FOV, aspect=ASPECT, fps=FPS, seconds=seconds
    )
    document = load_document(tmp_path / "output_animation.glb")
    keys = document.accessor(document.items("animations")[0]["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(keys, seconds[[0, 2, 5]], rtol=1e-6)
    cameras = read_cameras(tmp_path / "cameras.json")
    np.testing.assert_array_equal(cameras.times, seconds)
    assert cameras.fps == FPS


def test_cameras_of_older_runs_have_the_times_of_their_rate(tmp_path):
    _export(tmp_path)
    file = tmp_path / "cameras.json"
    stored = json.loads(file.read_text("utf-8"))
    np.testing.assert_array_equal([frame.pop("time") for frame in stored["frames"]], np.arange(6) / FPS)
    file.write_text(json.dumps(stored), "utf-8")
    np.testing.assert_array_equal(read_cameras(file).times, np.arange(6) / FPS)


def test_poses_that_interpolation_gives_back_have_no_target(tmp_path: Path) -> None:
    """All six frames as poses: those between the three key frames are linear."""
    world = _world()
    whole = world.sampled(np.arange(6.0))
    sequence, extrinsics = _seen(whole), ORBIT.camera().extrinsics[0]
    options = {"fov": FOV, "aspect": ASPECT, "fps": FPS}
    folders = {}
    for tolerance in (0.0, 0.001):
        folders[tolerance] = tmp_path / str(tolerance)
        path = export_animation(
            Workspace(folders[tolerance]), sequence, NAMES, np.arange(6), extrinsics, tolerance=tolerance, **options
        )
        (mesh,) = load_document(path).json["meshes"]
        assert mesh["extras"]["targetNames"] == (NAMES if tolerance == 0 else ["a", "c", "f"])
        assert len(mesh["primitives"][0]["targets"]) == (6 if tolerance == 0 else 3)
        played = read_animation(path, times=np.arange(6) / FPS)
        error = (played.vertices[:, : len(world.mesh.vertices)] - whole.vertices).norm(dim=-1).max()
        assert error < 0.001 * 0.9
    for name in ("output_vertex_offsets.npy", "d_texture_consistency_sample.glb"):  # complete and exact
        assert (folders[0.0] / name).read_bytes() == (folders[0.001] / name).read_bytes()


def test_another_tolerance_redoes_the_animation_only(tmp_path: Path) -> None:
    workspace, sequence = Workspace(tmp_path), _seen(_world().sampled(np.arange(6.0)))
    options = {"fov": FOV, "aspect": ASPECT, "fps": FPS}
    keys = []
    for tolerance in (0.001, 0.0):
        extrinsics = ORBIT.camera().extrinsics[0]
        export_animation(workspace, sequence, NAMES, np.arange(6), extrinsics, tolerance=tolerance, **options)
        keys.append({name: entry["key"] for name, entry in workspace.manifest["artefacts"].items()})
    assert [name for name in keys[0] if keys[0][name] != keys[1][name]] == ["output_animation.glb"]


def test_poses_are_transformed_one_at_a_time_as_all_together() -> None:
    world, extrinsics = _world(), ORBIT.camera().extrinsics[0]
    matrix = camera_to_world(extrinsics)
    together = (world.vertices.double() @ matrix[:3, :3].T + matrix[:3, 3]).float()
    assert torch.equal(to_world(world, extrinsics).vertices, together)


def test_offsets_are_a_file_of_numpy(exported: Workspace) -> None:
    file = exported.path("output_vertex_offsets.npy")
    buffer = io.BytesIO()
    np.save(buffer, np.load(file))
    assert file.read_bytes() == buffer.getvalue()
