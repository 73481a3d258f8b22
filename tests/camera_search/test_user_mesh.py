import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from camera_search import pose_user_mesh, user_mesh
from camera_search.stage import pose_asset
from camera_search.user_mesh import find_user_mesh_camera, rotated, upright_rotations, with_mean_color
from camera_search.views import rolled
from v2m4.camera import Camera, Orbit
from v2m4.config import FAST, SearchConfig
from v2m4.frame import Frame
from v2m4.mesh import Asset
from v2m4.render import render_mesh
from v2m4.rotation import angles_between, cube_rotations
from v2m4.workspace import Workspace

SEARCH = SearchConfig(
    samples=200, islands=3, particles=24, swarm_steps=6, refined=2, refine_steps=30, size=64, proxy_faces=600
)
ORBIT = Orbit.of(0.6, 0.2, 2.4, (0.05, 0.0, 0.0))


@pytest.fixture(scope="module")
def frame(creature, camera_of):
    return camera_of(creature, ORBIT, 160)


def overlap(mesh, frame) -> float:
    rendered = render_mesh(mesh, Camera.identity(), 128, channels=("mask",)).mask[0]
    mask = frame.tensors(128)[1]
    return float(torch.minimum(rendered, mask).sum() / torch.maximum(rendered, mask).sum())


def test_each_signed_axis_is_up_in_one_rotation():
    rotations = np.stack(upright_rotations())
    assert np.array_equal(rotations[0], np.eye(3))
    up = {tuple(axis) for axis in (rotations.transpose(0, 2, 1) @ [0.0, 1.0, 0.0]).round().tolist()}
    assert len(rotations) == len(up) == 6
    # Each of the 24 rotations is one of the six followed by a rotation about the vertical.
    for rotation in cube_rotations():
        remainders = rotation @ rotations.transpose(0, 2, 1)
        assert np.isclose(remainders[:, 1, 1], 1).sum() == 1


@pytest.mark.parametrize("which", [0, 6, 13, 22])
def test_camera_of_a_rotated_mesh(creature, frame, which):
    rotation = torch.from_numpy(cube_rotations()[which]).float()
    mesh = rotated(creature, rotation)
    result = find_user_mesh_camera(mesh, frame, SEARCH, torch.Generator().manual_seed(1))
    truth = ORBIT.camera().extrinsics[0, :3, :3] @ rotation.T
    assert math.degrees(float(angles_between(result.extrinsics[:3, :3], truth))) < 3
    assert overlap(pose_asset(mesh, result.extrinsics, 1.0, result.score).mesh, frame) > 0.95
    assert int(torch.nan_to_num(result.final_scores, nan=-1.0).argmax()) == int(result.coarse_scores.argmax())


def test_camera_with_roll(creature, camera_of):
    without_roll = ORBIT.camera().extrinsics[0]
    with_roll = rolled(without_roll[None, :3, :3], torch.tensor([0.15]))[0]
    rotated_mesh = rotated(creature, without_roll[:3, :3].T @ with_roll)
    result = find_user_mesh_camera(creature, camera_of(rotated_mesh, ORBIT), SEARCH, torch.Generator().manual_seed(0))
    assert math.degrees(float(angles_between(result.extrinsics[:3, :3], with_roll))) < 2


def test_camera_of_a_mesh_without_colours(creature, frame):
    bare = replace(creature, colors=None)
    assert with_mean_color(creature, frame) is creature
    colored = with_mean_color(bare, frame)
    assert colored.colors.std(0).max() < 1e-6
    inside = frame.rgba[frame.rgba[..., 3] == 255][:, :3].mean(0) / 255
    np.testing.assert_allclose(colored.colors[0].numpy(), inside, atol=0.02)
    result = find_user_mesh_camera(colored, frame, SEARCH, torch.Generator().manual_seed(0))
    assert overlap(pose_asset(bare, result.extrinsics, 1.0, result.score).mesh, frame) > 0.9


def test_stage_keeps_the_mesh_and_its_result(creature, frame, tmp_path, monkeypatch):
    config = replace(FAST, search=SEARCH)
    rotation = torch.from_numpy(cube_rotations()[9]).float()
    bare = replace(rotated(creature, rotation), colors=None)
    posed = pose_user_mesh(frame, Asset(bare), Workspace(tmp_path), config)
    assert posed.scale == 1.0
    assert posed.mesh.colors is None
    assert torch.equal(posed.mesh.faces, creature.faces)
    rotation = posed.extrinsics[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1.0, abs=1e-5)
    (entry,) = json.loads((tmp_path / "2_camera_search" / "cameras.json").read_text())
    torch.testing.assert_close(torch.tensor(entry["extrinsics"]), posed.extrinsics)
    for name in (f"2_camera_search/{frame.name}.png", f"{frame.name}_re-canonicalization_sample.glb"):
        assert (tmp_path / name).is_file()
    monkeypatch.setattr(user_mesh, "find_user_mesh_camera", lambda *_: pytest.fail("searched again"))
    again = pose_user_mesh(frame, Asset(bare), Workspace(tmp_path), config)
    assert torch.equal(again.mesh.vertices, posed.mesh.vertices)
    with pytest.raises(pytest.fail.Exception):
        pose_user_mesh(frame, Asset(bare), Workspace(tmp_path), replace(config, seed=config.seed + 1))


def test_no_faces_and_no_foreground_are_errors(creature, frame):
    empty = replace(creature, faces=creature.faces[:0])
    with pytest.raises(ValueError, match="no faces"):
        find_user_mesh_camera(empty, frame, SEARCH, torch.Generator())
    with pytest.raises(ValueError, match="no foreground"):
        find_user_mesh_camera(creature, Frame("e", 0, np.zeros((32, 32, 4), np.uint8)), SEARCH, torch.Generator())
