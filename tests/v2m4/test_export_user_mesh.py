"""The user's own file, animated: in its own world, under the camera that saw the video."""

import json

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from tests.v2m4.skinning import chain
from v2m4.camera import DEFAULT_FOV, Camera, Orbit
from v2m4.export import ANIMATION, CAMERAS, OFFSETS, REST_MESH, read_cameras
from v2m4.export_rig import RIGGED
from v2m4.export_user_mesh import export_user_mesh, file_axes_extrinsics, split_similarity
from v2m4.io.gltf import read_glb, write_glb, write_rigged_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.user_mesh import open_user_mesh
from v2m4.mesh import Mesh, MeshSequence
from v2m4.skinning.rig import fit_rig
from v2m4.workspace import Workspace

FPS = 8.0


@pytest.fixture
def user_mesh(tmp_path):
    """A coloured ball, 120 mm across, far from the origin."""
    ball = trimesh.creation.icosphere(2, 60.0)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32) + torch.tensor([500.0, 40.0, -30.0])
    mesh = Mesh(vertices, torch.tensor(ball.faces), colors=torch.full_like(vertices, 0.4))
    write_glb(tmp_path / "ball.glb", mesh)
    return open_user_mesh(tmp_path / "ball.glb")


def similarity(user_mesh) -> torch.Tensor:
    """From the file's world to a camera that sees the ball, brought to the unit cube, from two units away."""
    return Orbit.of(yaw=0.7, pitch=0.3, radius=2.0).camera().extrinsics[0] @ user_mesh.mesh.normalizing()


def seen(user_mesh, steps=4):
    """Poses in camera space: the ball slides to the right and grows."""
    start = user_mesh.mesh.transformed(similarity(user_mesh)).vertices
    middle = start.mean(0)
    poses = [middle + (1 + 0.1 * t) * (start - middle) + torch.tensor([0.05 * t, 0, 0]) for t in range(steps)]
    return MeshSequence(torch.stack(poses), user_mesh.mesh.with_vertices(start), np.arange(steps, dtype=np.float64))


def export(folder, user_mesh, sequence, **more):
    options = {"fov": DEFAULT_FOV, "aspect": 1.0, "fps": FPS} | more
    names = [f"{t:03d}" for t in range(len(sequence))]
    return export_user_mesh(Workspace(folder), user_mesh, sequence, names, similarity(user_mesh), **options)


def test_the_animation_lies_in_the_files_world_and_is_seen_where_the_video_shows_it(user_mesh, tmp_path):
    sequence = seen(user_mesh)
    path = export(tmp_path / "out", user_mesh, sequence)
    assert path == tmp_path / "out" / ANIMATION
    found = read_animation(path, times=np.arange(4) / FPS)
    recorded = read_cameras(tmp_path / "out" / CAMERAS)
    assert recorded.names == ["000", "001", "002", "003"] and recorded.fps == FPS
    wanted, _ = Camera.identity().project(sequence.vertices, (512, 512))
    pixels, depth = recorded.cameras.project(found.vertices, (512, 512))
    assert (pixels - wanted).abs().max() < 0.05
    assert 160 < depth.min() < depth.max() < 320  # 2 units of 120 mm, the ball grown by 1.3 about it
    still = read_glb(tmp_path / "out" / REST_MESH)
    assert torch.equal(still.vertices, user_mesh.mesh.vertices)
    offsets = np.load(tmp_path / "out" / OFFSETS)
    assert offsets.shape == (4, len(user_mesh.mesh.vertices), 3)
    np.testing.assert_allclose(offsets[0], 0, atol=1e-4)
    np.testing.assert_allclose(still.vertices.numpy() + offsets, found.vertices.numpy(), atol=3e-3)


def test_what_is_there_already_is_left_and_other_poses_are_written(user_mesh, tmp_path):
    path = export(tmp_path / "out", user_mesh, seen(user_mesh))
    before = path.stat().st_mtime_ns
    export(tmp_path / "out", user_mesh, seen(user_mesh))
    assert path.stat().st_mtime_ns == before
    export(tmp_path / "out", user_mesh, seen(user_mesh), fps=2 * FPS)
    assert path.stat().st_mtime_ns != before
    artefacts = json.loads((tmp_path / "out" / "manifest.json").read_text())["artefacts"]
    assert {ANIMATION, REST_MESH, OFFSETS, CAMERAS} <= set(artefacts)


def test_a_similarity_is_a_rigid_motion_in_its_own_units(user_mesh):
    matrix = similarity(user_mesh)
    rigid, scale = split_similarity(matrix)
    assert scale == pytest.approx(1 / 120, rel=1e-3)
    points = user_mesh.mesh.vertices.double()
    there = points @ matrix[:3, :3].double().T + matrix[:3, 3].double()
    again = points @ rigid[:3, :3].T + rigid[:3, 3]
    torch.testing.assert_close(again * scale, there, atol=1e-6, rtol=0)
    world = torch.linalg.inv(file_axes_extrinsics(matrix).double())
    upright = there @ world[:3, :3].T + world[:3, 3]
    torch.testing.assert_close(upright / scale, points, atol=1e-3, rtol=0)


def test_what_does_not_fit_is_refused(user_mesh, tmp_path):
    sequence = seen(user_mesh)
    with pytest.raises(ValueError, match="2 names for 4 poses"):
        export_user_mesh(Workspace(tmp_path), user_mesh, sequence, ["a", "b"], torch.eye(4), fov=0.7, aspect=1, fps=1)
    sheared = torch.eye(4)
    sheared[0, 1] = 0.5
    with pytest.raises(ValueError, match="extrinsics"):
        export_user_mesh(Workspace(tmp_path), user_mesh, sequence, list("abcd"), sheared, fov=0.7, aspect=1, fps=1)


def test_times_of_a_variable_rate_are_the_keys(user_mesh, tmp_path):
    times = np.array([0.25, 0.3, 0.9, 1.0])
    path = export(tmp_path / "out", user_mesh, seen(user_mesh), times=times)
    (animation,) = list_animations(path)
    np.testing.assert_allclose(animation.key_times, times, rtol=1e-6)
    np.testing.assert_array_equal(read_cameras(tmp_path / "out" / CAMERAS).times, times)


def test_poses_that_interpolation_gives_back_have_no_target(user_mesh, tmp_path):
    sequence = seen(user_mesh)  # slides and grows at a constant pace
    path = export(tmp_path / "out", user_mesh, sequence, tolerance=0.001)
    assert len(list_animations(path)[0].key_times) == 2
    times = np.arange(len(sequence)) / FPS
    exact = export(tmp_path / "exact", user_mesh, sequence)
    assert len(list_animations(exact)[0].key_times) == len(sequence)
    played, wanted = (read_animation(each, times=times).vertices for each in (path, exact))
    assert (played - wanted).norm(dim=-1).max() < 0.001 * 120
    assert (tmp_path / "out" / OFFSETS).read_bytes() == (tmp_path / "exact" / OFFSETS).read_bytes()


@pytest.fixture(scope="module")
def skinned(tmp_path_factory):
    """A tube with a skeleton, and its poses in camera space while it bends."""
    path = tmp_path_factory.mktemp("skinned") / "tube.glb"
    sequence = chain.sequence(8)
    write_rigged_glb(path, sequence.mesh, fit_rig(sequence, 3), float(sequence.times[-1]))
    user_mesh = open_user_mesh(path)
    order = np.linalg.norm(
        user_mesh.mesh.vertices.numpy()[:, None] - sequence.mesh.vertices.numpy()[None], axis=2
    ).argmin(1)
    moved = sequence.vertices[:, torch.from_numpy(order)]
    matrix = similarity(user_mesh)
    poses = moved @ matrix[:3, :3].T + matrix[:3, 3]
    return user_mesh, MeshSequence(poses, user_mesh.mesh.with_vertices(poses[0]), np.arange(8.0)), moved


@pytest.mark.parametrize("write", ["auto", "skeleton"])
def test_a_mesh_with_a_skeleton_moves_on_its_own_joints(skinned, tmp_path, write):
    user_mesh, sequence, moved = skinned
    path = export(tmp_path, user_mesh, sequence, write=write, bones=8)
    document = json.loads(path.read_bytes()[20 : 20 + int.from_bytes(path.read_bytes()[12:16], "little")])
    assert all("targets" not in primitive for mesh in document["meshes"] for primitive in mesh["primitives"])
    played = read_animation(path, times=np.arange(8) / FPS, weld=False)
    distances, _ = cKDTree(played.vertices[5].numpy()).query(moved[5].numpy())
    assert distances.max() < 0.02  # the tube is one unit long
    offsets = np.load(tmp_path / OFFSETS)
    assert np.abs(user_mesh.mesh.vertices.numpy() + offsets - moved.numpy()).max() < 0.02
    manifest = Workspace(tmp_path).manifest
    assert manifest["skeleton"]["rms_percent"] < 1
    assert not (tmp_path / RIGGED).exists()


def test_it_may_be_written_as_morph_targets_and_others_get_a_rig(skinned, user_mesh, tmp_path):
    file, sequence, moved = skinned
    path = export(tmp_path / "a", file, sequence, write="morph", bones=8)
    played = read_animation(path, times=np.arange(8) / FPS)
    distances, _ = cKDTree(played.vertices[5].numpy()).query(moved[5].numpy())
    assert distances.max() < 1e-3
    assert not (tmp_path / "a" / RIGGED).exists()  # it has a skeleton of its own
    export(tmp_path / "b", user_mesh, seen(user_mesh), bones=8)
    assert (tmp_path / "b" / RIGGED).is_file()
    export(tmp_path / "b", user_mesh, seen(user_mesh))
    assert not (tmp_path / "b" / RIGGED).exists()
    with pytest.raises(ValueError, match="no skin"):
        export(tmp_path / "c", user_mesh, seen(user_mesh), write="skeleton")
