"""Rigged files play what was fitted; a user's own skeleton takes the motion, and nothing else changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from tests.v2m4.io.user_mesh_documents import two_parts
from tests.v2m4.skinning import chain
from v2m4.camera import Orbit
from v2m4.export_rig import RIGGED, export_rig, fit_own_skeleton
from v2m4.io.gltf import write_rigged_glb
from v2m4.io.gltf_animation import list_animations, read_animation
from v2m4.io.user_mesh import UserMesh, open_user_mesh
from v2m4.mesh import Mesh, MeshSequence
from v2m4.skinning.rig import fit_rig
from v2m4.workspace import Workspace

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CAMERA = Orbit.of(radius=3.0).camera()


@pytest.fixture(scope="module")
def skinned_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tube with a skeleton and a clip in which it bends."""
    path = tmp_path_factory.mktemp("skinned") / "tube.glb"
    sequence = chain.sequence(12)
    write_rigged_glb(path, sequence.mesh, fit_rig(sequence, 3), float(sequence.times[-1]))
    return path


def test_a_rigged_file_plays_the_motion(tmp_path: Path) -> None:
    sequence = chain.sequence(20)
    rig = fit_rig(sequence, 6, tolerance=1e-3)
    path = tmp_path / "rigged.glb"
    write_rigged_glb(path, sequence.mesh, rig, float(sequence.times[-1]), CAMERA)
    (clip,) = list_animations(path)
    assert clip.start == 0
    assert clip.stop == pytest.approx(sequence.times[-1])
    played = read_animation(path, times=sequence.times)
    errors = np.linalg.norm(played.vertices.numpy() - sequence.vertices.numpy(), axis=2)
    assert np.sqrt((errors**2).mean()) == pytest.approx(rig.rms, abs=1e-4)  # the tube is one unit long
    assert errors.max() == pytest.approx(rig.largest, abs=1e-4)


def test_texture_seams_and_colours_are_kept(tmp_path: Path) -> None:
    sequence = chain.sequence(5)
    mesh = sequence.mesh
    rng = torch.Generator().manual_seed(0)
    textured = Mesh(
        mesh.vertices,
        mesh.faces,
        torch.rand(50, 2, generator=rng),
        torch.randint(0, 50, mesh.faces.shape, generator=rng),
        torch.rand(16, 16, 3, generator=rng),
    )
    path = tmp_path / "rigged.glb"
    write_rigged_glb(path, textured, fit_rig(replace(sequence, mesh=textured), 3), 1.0)
    played = read_animation(path, weld=True)
    assert len(played.mesh.vertices) == len(mesh.vertices)
    assert played.mesh.texture is not None
    torch.testing.assert_close(played.mesh.texture, textured.texture, atol=1 / 255, rtol=0)


def test_the_file_is_written_once_and_its_error_is_told(tmp_path: Path) -> None:
    workspace, sequence = Workspace(tmp_path), chain.sequence(6)
    path = export_rig(workspace, sequence, CAMERA, 4, 1e-3)
    assert path == tmp_path / RIGGED
    assert 0 < workspace.manifest["rig"]["rms_percent"] < 1
    assert workspace.manifest["rig"]["bones"] <= 4
    before = path.stat().st_mtime_ns
    export_rig(workspace, sequence, CAMERA, 4, 1e-3)
    assert path.stat().st_mtime_ns == before
    export_rig(workspace, sequence, CAMERA, 2, 1e-3)
    assert path.stat().st_mtime_ns != before


def test_a_user_mesh_of_two_parts_gets_a_skeleton(tmp_path: Path) -> None:
    """Two materials, several nodes with transforms: all vertices move as the poses say."""
    user_mesh = open_user_mesh(two_parts(tmp_path / "a.glb"))
    rest = user_mesh.mesh.vertices.numpy()
    size = np.ptp(rest, axis=0).max()
    angles = np.linspace(0, 0.6, 5)
    rotations = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    poses = (rest @ rotations.transpose(0, 2, 1) + size * angles[:, None, None]).astype(np.float32)
    plain = replace(user_mesh.mesh, texture=None, uvs=None, uv_faces=None)
    sequence = MeshSequence(torch.from_numpy(poses), plain, np.arange(5) / 10)
    path = export_rig(Workspace(tmp_path / "out"), sequence, CAMERA, 8, 0.0, user_mesh)
    played = open_user_mesh(path)
    assert played.document.items("skins")
    found = read_animation(path, times=sequence.times)
    distances, _ = cKDTree(found.vertices[3].numpy()).query(poses[3])
    assert distances.max() < 2e-3 * size


def _fitted(user_mesh: UserMesh, poses: np.ndarray, times: np.ndarray, path: Path) -> float:
    skeleton = user_mesh.skeleton()
    assert skeleton is not None
    motion = fit_own_skeleton(user_mesh, skeleton, poses, times, 0.0)
    user_mesh.write_skeleton(path, skeleton, motion.curves, float(times[-1]), CAMERA)
    return motion.rms


def test_a_users_skeleton_takes_the_motion_and_all_else_is_kept(skinned_file: Path, tmp_path: Path) -> None:
    user_mesh = open_user_mesh(skinned_file)
    times = np.arange(12) / 30
    truth = read_animation(skinned_file, times=times)
    order = np.linalg.norm(user_mesh.mesh.vertices.numpy()[:, None] - truth.mesh.vertices.numpy()[None], axis=2).argmin(
        1
    )
    path = tmp_path / "out.glb"
    rms = _fitted(user_mesh, truth.vertices.double().numpy()[:, order], times, path)
    assert rms < 1e-3
    played = read_animation(path, times=times)
    assert np.linalg.norm(played.vertices.numpy() - truth.vertices.numpy(), axis=2).max() < 5e-3
    before, after = open_user_mesh(skinned_file).document, open_user_mesh(path).document
    for kind in ("meshes", "skins", "materials"):
        assert len(before.items(kind)) == len(after.items(kind))
    names = [node.get("name") for node in before.items("nodes")]
    assert [node.get("name") for node in after.items("nodes")][: len(names)] == names
    assert [clip["name"] for clip in after.items("animations")][1:] == [
        clip["name"] for clip in before.items("animations")
    ]
    lengths = [
        [node.get("translation") for node in document.items("nodes")[: len(names)]] for document in (before, after)
    ]
    assert lengths[0] == lengths[1]
    translated = {
        channel["target"]["node"]
        for channel in after.items("animations")[0]["channels"]
        if channel["target"]["path"] == "translation"
    }
    assert translated <= {names.index("root")}


def test_a_mesh_without_a_skin_has_no_skeleton(tmp_path: Path) -> None:
    assert open_user_mesh(two_parts(tmp_path / "a.glb")).skeleton() is None


@pytest.mark.parametrize(
    ("name", "clip", "roots"),
    [
        ("Fox", "Walk", {"b_Hip_01"}),
        ("RobotExpressive", "Walking", {"Body_6", "FootL_3", "FootR_67"}),
    ],
)
def test_real_characters_are_driven_by_their_own_clips(name: str, clip: str, roots: set[str], tmp_path: Path) -> None:
    """Of the robot, whose feet hang on a ground bone for inverse kinematics, the feet translate too."""
    path = SHARED / "animated" / f"{name}.glb"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    user_mesh = open_user_mesh(path)
    skeleton = user_mesh.skeleton()
    assert skeleton is not None
    nodes = user_mesh.document.items("nodes")
    translating = np.flatnonzero(skeleton.skeleton.translating)
    assert {nodes[skeleton.nodes[node]]["name"] for node in translating} == roots
    (entry,) = [each for each in list_animations(path) if each.name == clip]
    times = np.linspace(entry.start, entry.stop, 24)
    truth = read_animation(path, clip, times)
    distance, order = cKDTree(truth.mesh.vertices.numpy()).query(user_mesh.mesh.vertices.numpy())
    size = np.ptp(user_mesh.mesh.vertices.numpy(), axis=0).max()
    assert distance.max() < 1e-5 * size
    poses = truth.vertices.double().numpy()[:, order]
    assert _fitted(user_mesh, poses, times - entry.start, tmp_path / "out.glb") < 2e-3
    played = read_animation(tmp_path / "out.glb", times=times - entry.start)
    errors = np.linalg.norm(played.vertices.numpy() - truth.vertices.numpy(), axis=2) / size
    assert np.sqrt((errors**2).mean()) < 2e-3
