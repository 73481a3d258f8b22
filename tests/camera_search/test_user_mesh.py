import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from camera_search import pose_user_mesh
from camera_search import user_mesh as given
from camera_search.stage import pose_asset
from camera_search.user_mesh import find_turned_camera, turned, upward_turns, with_look
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
    seen = render_mesh(mesh, Camera.identity(), 128, channels=("mask",)).mask[0]
    mask = frame.tensors(128)[1]
    return float(torch.minimum(seen, mask).sum() / torch.maximum(seen, mask).sum())


def test_every_axis_points_up_once():
    turns = np.stack(upward_turns())
    assert np.array_equal(turns[0], np.eye(3))
    up = {tuple(axis) for axis in (turns.transpose(0, 2, 1) @ [0.0, 1.0, 0.0]).round().tolist()}
    assert len(turns) == len(up) == 6
    # Any of the 24 turns is one of the six followed by a turn about the vertical.
    for rotation in cube_rotations():
        rests = rotation @ turns.transpose(0, 2, 1)
        assert np.isclose(rests[:, 1, 1], 1).sum() == 1


@pytest.mark.parametrize("which", [0, 6, 13, 22])
def test_camera_is_found_from_any_turn(creature, frame, which):
    turn = torch.from_numpy(cube_rotations()[which]).float()
    mesh = turned(creature, turn)
    found = find_turned_camera(mesh, frame, SEARCH, torch.Generator().manual_seed(1))
    truth = ORBIT.camera().extrinsics[0, :3, :3] @ turn.T
    assert math.degrees(float(angles_between(found.extrinsics[:3, :3], truth))) < 3
    assert overlap(pose_asset(mesh, found.extrinsics, 1.0, found.score).mesh, frame) > 0.95
    assert int(torch.nan_to_num(found.finals, nan=-1.0).argmax()) == int(found.fans.argmax())


def test_a_camera_that_rolls_is_found(creature, camera_of):
    level = ORBIT.camera().extrinsics[0]
    lean = rolled(level[None, :3, :3], torch.tensor([0.15]))[0]
    leaning = turned(creature, level[:3, :3].T @ lean)
    found = find_turned_camera(creature, camera_of(leaning, ORBIT), SEARCH, torch.Generator().manual_seed(0))
    assert math.degrees(float(angles_between(found.extrinsics[:3, :3], lean))) < 2


def test_a_mesh_without_look_is_searched_by_its_outline(creature, frame):
    bare = replace(creature, colors=None)
    assert with_look(creature, frame) is creature
    painted = with_look(bare, frame)
    assert painted.colors.std(0).max() < 1e-6
    inside = frame.rgba[frame.rgba[..., 3] == 255][:, :3].mean(0) / 255
    np.testing.assert_allclose(painted.colors[0].numpy(), inside, atol=0.02)
    found = find_turned_camera(painted, frame, SEARCH, torch.Generator().manual_seed(0))
    assert overlap(pose_asset(bare, found.extrinsics, 1.0, found.score).mesh, frame) > 0.9


def test_the_stage_keeps_the_mesh_and_what_it_found(creature, frame, tmp_path, monkeypatch):
    config = replace(FAST, search=SEARCH)
    turn = torch.from_numpy(cube_rotations()[9]).float()
    bare = replace(turned(creature, turn), colors=None)
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
    monkeypatch.setattr(given, "find_turned_camera", lambda *_: pytest.fail("searched again"))
    again = pose_user_mesh(frame, Asset(bare), Workspace(tmp_path), config)
    assert torch.equal(again.mesh.vertices, posed.mesh.vertices)
    with pytest.raises(pytest.fail.Exception):
        pose_user_mesh(frame, Asset(bare), Workspace(tmp_path), replace(config, seed=config.seed + 1))


def test_what_cannot_be_searched(creature, frame):
    empty = replace(creature, faces=creature.faces[:0])
    with pytest.raises(ValueError, match="no faces"):
        find_turned_camera(empty, frame, SEARCH, torch.Generator())
    with pytest.raises(ValueError, match="no foreground"):
        find_turned_camera(creature, Frame("e", 0, np.zeros((32, 32, 4), np.uint8)), SEARCH, torch.Generator())
