"""Sequences are read from every form they are left in, and their frames are paired as the note says."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from evaluation.sequences import SurfaceSequence, find_pairs, is_sequence, read_pair, read_sequence
from v2m4.ground_truth import GroundTruth
from v2m4.io.gltf import write_animation_glb, write_glb
from v2m4.mesh import Mesh, MeshSequence

CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def motion(frames: int, fps: float = 10.0) -> MeshSequence:
    poses = torch.stack([CORNERS + torch.tensor([0.0, float(frame), 0.0]) for frame in range(frames)])
    return MeshSequence(poses, Mesh(CORNERS, FACES), np.arange(frames) / fps)


def write_truth(path: Path, frames: int, fps: float = 10.0) -> Path:
    sequence = motion(frames, fps)
    colors = np.ones((4, 3))
    GroundTruth.of(sequence.vertices.numpy(), FACES.numpy(), colors, torch.zeros(6), 0.7, fps).save(path)
    return path


def heights(sequence: SurfaceSequence) -> np.ndarray:
    return np.array([float(frame.vertices[:, 1].min()) for frame in sequence])


def test_animated_glb_at_its_keys_and_at_other_times(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    write_animation_glb(path, motion(4))
    read = read_sequence(path)
    assert np.allclose(heights(read), [0, 1, 2, 3], atol=1e-4)
    assert read.times is not None
    assert np.allclose(read.times, [0, 0.1, 0.2, 0.3])
    assert np.allclose(heights(read_sequence(path, np.array([0.05, 0.25]))), [0.5, 2.5], atol=1e-4)


def test_ground_truth_is_read_with_its_times(tmp_path: Path) -> None:
    read = read_sequence(write_truth(tmp_path / "a.npz", 3))
    assert np.allclose(heights(read), [0, 1, 2], atol=1e-3)
    assert len(read[0].faces) == 4
    assert np.allclose(heights(read_sequence(tmp_path / "a.npz", np.array([0.19]))), [2], atol=1e-3)


def test_folder_of_npy_with_and_without_faces(tmp_path: Path) -> None:
    for index in (10, 9, 0):  # natural order, not that of the letters
        np.save(tmp_path / f"frame_{index}.npy", (CORNERS + torch.tensor([0.0, index, 0.0])).numpy())
    clouds = read_sequence(tmp_path)
    assert heights(clouds).tolist() == [0, 9, 10]
    assert len(clouds[0].faces) == 0
    assert clouds.times is None
    np.save(tmp_path / "faces.npy", FACES.numpy())
    assert torch.equal(read_sequence(tmp_path)[2].faces, FACES)


@pytest.mark.parametrize("name", ["frame_{}.glb", "mesh_{}.glb", "{}_texture_consistency_sample.glb"])
def test_folder_of_meshes_whose_topology_changes(tmp_path: Path, name: str) -> None:
    write_glb(tmp_path / name.format("0"), Mesh(CORNERS, FACES))
    write_glb(tmp_path / name.format("1"), Mesh(CORNERS, FACES[:2]))
    assert [len(mesh.faces) for mesh in read_sequence(tmp_path)] == [4, 2]


def test_npy_of_points_is_a_sequence_of_point_clouds(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(2, 7, 6))
    np.save(tmp_path / "surfaces.npy", points)
    read = read_sequence(tmp_path / "surfaces.npy")
    assert np.allclose(np.stack([mesh.vertices.numpy() for mesh in read]), points[..., :3], atol=1e-6)


def write_result(folder: Path, keys: MeshSequence, frames: int, fps: float) -> Path:
    folder.mkdir(parents=True)
    write_animation_glb(folder / "output_animation.glb", keys)
    names = [{"name": f"{index:04d}", "extrinsics": np.eye(4).tolist()} for index in range(frames)]
    (folder / "cameras.json").write_text(json.dumps({"fov": 0.7, "aspect": 1.0, "fps": fps, "frames": names}))
    return folder


def test_result_folder_gives_the_frames_of_the_video(tmp_path: Path) -> None:
    keys = motion(7, 20.0).sampled([0.0, 0.3])  # two key frames of seven
    folder = write_result(tmp_path / "walk", keys, 7, 20.0)
    for path in (folder, folder / "output_animation.glb"):
        assert np.allclose(heights(read_sequence(path)), np.arange(7), atol=1e-4)


def test_as_many_frames_are_paired_by_order_whatever_the_rates(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.npz", 7, 24.0)
    pair = read_pair(truth, write_result(tmp_path / "walk", motion(7, 30.0).sampled([0.0, 0.2]), 7, 30.0))
    assert pair.note == ""
    assert np.allclose(heights(pair.truth), heights(pair.prediction), atol=2e-3)


def test_other_frame_counts_are_paired_by_time(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.npz", 7, 10.0)
    write_animation_glb(tmp_path / "slow.glb", motion(7, 10.0).sampled([0.0, 0.4]))
    pair = read_pair(truth, tmp_path / "slow.glb")
    assert len(pair.truth) == len(pair.prediction) == 5
    assert np.allclose(heights(pair.truth), heights(pair.prediction), atol=2e-3)
    assert "7 true frames over 0.600 s and 2 predicted over 0.400 s: 5 compared, paired by time" in pair.note


def test_without_times_the_shorter_side_counts(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.npz", 5)
    (tmp_path / "frames").mkdir()
    for index in range(3):
        np.save(tmp_path / "frames" / f"frame_{index:04d}.npy", CORNERS.numpy())
    pair = read_pair(truth, tmp_path / "frames")
    assert len(pair.truth) == len(pair.prediction) == 3
    assert "5 true and 3 predicted frames: the first 3 compared, paired by order" in pair.note


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    (tmp_path / "clips" / "ground_truth").mkdir(parents=True)
    for name in ("a", "b"):
        write_truth(tmp_path / "clips" / "ground_truth" / f"{name}.npz", 2)
    for name in ("b", "c"):
        write_result(tmp_path / "results" / name, motion(2), 2, 10.0)
    truths = {name: tmp_path / "clips" / "ground_truth" / f"{name}.npz" for name in ("a", "b")}
    results = {name: tmp_path / "results" / name for name in ("b", "c")}
    everything, named = find_pairs(tmp_path / "clips", tmp_path / "results")
    assert named
    assert everything == [("a", truths["a"], None), ("b", truths["b"], results["b"]), ("c", None, results["c"])]
    assert find_pairs(tmp_path / "clips", results["b"])[0] == [("b", truths["b"], results["b"])]
    assert find_pairs(truths["b"], tmp_path / "results")[0] == [("b", truths["b"], results["b"])]
    assert find_pairs(truths["a"], results["b"]) == ([("b", truths["a"], results["b"])], False)


def test_still_meshes_and_archives_are_sequences(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    still = []
    for suffix in (".glb", ".obj", ".ply", ".stl", ".off"):
        box.export(tmp_path / f"box{suffix}")
        still.append(tmp_path / f"box{suffix}")
    write_animation_glb(tmp_path / "moving.glb", motion(3))
    with zipfile.ZipFile(tmp_path / "moving.zip", "w") as archive:
        archive.write(tmp_path / "moving.glb", "source/a.glb")
    (tmp_path / "moving.glb").rename(tmp_path / "moving.vrm")
    for path in still:
        assert is_sequence(path)
        (mesh,) = read_sequence(path)
        assert len(mesh.faces) == 12
    for name in ("moving.zip", "moving.vrm"):
        sequence = read_sequence(tmp_path / name)
        assert np.allclose(heights(sequence), heights(SurfaceSequence.of(motion(3))), atol=2e-3)
    (tmp_path / "frames").mkdir()
    for index in range(2):
        box.export(tmp_path / "frames" / f"frame_{index}.stl")
    assert len(read_sequence(tmp_path / "frames")) == 2


def test_a_ground_truth_is_taken_before_the_mesh_of_its_first_frame(tmp_path: Path) -> None:
    write_truth(tmp_path / "a.npz", 2)
    trimesh.creation.box().export(tmp_path / "a.glb")
    assert find_pairs(tmp_path, tmp_path)[0] == [("a", tmp_path / "a.npz", tmp_path / "a.npz")]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: no such file"):
        read_sequence(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no animation in it; looked for"):
        read_sequence(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="unknown kind of sequence"):
        read_sequence(tmp_path / "a.txt")
    (tmp_path / "a.fbx").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="give --blender_path"):
        read_sequence(tmp_path / "a.fbx")
    np.save(tmp_path / "frame_0.npy", np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"frame_0.npy: expected .* got shape \(4, 2\)"):
        read_sequence(tmp_path)
    np.save(tmp_path / "frame_0.npy", np.zeros((3, 3)))
    np.save(tmp_path / "faces.npy", FACES.numpy())
    with pytest.raises(ValueError, match="names vertices that frame_0"):
        read_sequence(tmp_path)
    assert not is_sequence(tmp_path / "a.txt")
