"""The stage moves a mesh by a checkpoint's network and keeps its result."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import motion324
import registration
from motion324.checkpoint import save_network
from motion324.config import PRESETS, MotionConfig
from motion324.flow_network import motion_network
from v2m4.camera import Camera
from v2m4.config import FAST
from v2m4.frame import Frame
from v2m4.mesh import Mesh, PosedAsset
from v2m4.render import render_mesh
from v2m4.workspace import Workspace


def _small(encoder: str) -> MotionConfig:
    return replace(
        PRESETS["patches"],
        width=48,
        head_width=16,
        latents=4,
        surface_layers=1,
        video_layers=2,
        surface_points=64,
        image_encoder=encoder,
        image_width=48,
        image_layers=1,
        image_heads=2,
        image_size=64,
        crop_size=64,
        patch=16,
        output="displacements",
    )


@pytest.fixture(scope="module")
def posed() -> PosedAsset:
    ball = trimesh.creation.icosphere(2, 0.3)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32) + torch.tensor([0.05, 0.1, 2.0])
    mesh = Mesh(vertices, torch.tensor(ball.faces), colors=torch.full_like(vertices, 0.6))
    return PosedAsset(mesh, torch.eye(4))


@pytest.fixture(scope="module")
def frames(posed: PosedAsset) -> list[Frame]:
    camera = Camera.identity(0.7, 1.0)
    pictures = []
    for index in range(3):
        moved = posed.mesh.with_vertices(posed.mesh.vertices + torch.tensor([0.04 * index, 0.0, 0.0]))
        view = render_mesh(moved, camera, (64, 64), channels=("color", "mask"), background=0.0)
        rgba = torch.cat([view.color[0], view.mask[0]], -1).clamp(0, 1)
        pictures.append(Frame(str(index), index, (rgba * 255).round().to(torch.uint8).numpy(), 0.7))
    return pictures


@pytest.mark.parametrize("encoder", ["patches", "flow"])
def test_poses_lie_in_the_video_cameras_space(
    encoder: str, posed: PosedAsset, frames: list[Frame], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    checkpoint = tmp_path / "small.safetensors"
    save_network(checkpoint, motion_network(_small(encoder)))
    config = replace(FAST, motion="feedforward", checkpoint=checkpoint, device="cpu")
    workspace = Workspace(tmp_path / "out")
    sequence = motion324.run(frames, posed, workspace, config)
    assert sequence.vertices.shape == (3, *posed.mesh.vertices.shape)
    np.testing.assert_array_equal(sequence.times, [0, 1, 2])
    # An untrained network's displacements are small or those of the optical flow: the ball stays where it is seen.
    assert (sequence.vertices[0] - posed.mesh.vertices).abs().max() < 0.02
    assert (sequence.vertices.mean(1)[:, 2] - 2.0).abs().max() < 0.3
    file = tmp_path / "out" / "3_registration" / "feedforward.npz"
    before = file.stat().st_mtime_ns
    again = motion324.run(frames, posed, workspace, config)
    assert file.stat().st_mtime_ns == before
    torch.testing.assert_close(again.vertices, sequence.vertices)


def test_refinement_starts_from_the_networks_poses(posed: PosedAsset, frames: list[Frame], tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = tmp_path / "small.safetensors"
    save_network(checkpoint, motion_network(_small("flow")))
    config = replace(FAST, motion="feedforward", checkpoint=checkpoint, device="cpu", refine=True)
    workspace = Workspace(tmp_path / "out")
    asked: list[torch.Tensor] = []

    def predict(mesh: Mesh) -> torch.Tensor:
        asked.append(motion324.predictor(frames, workspace, config)(mesh))
        return asked[-1]

    sequence = registration.track_video(frames, posed, workspace, config, predict=predict)
    torch.testing.assert_close(asked[0], motion324.run(frames, posed, workspace, config).vertices)
    moved = (sequence.vertices - posed.mesh.vertices).mean(1)
    assert 0.02 < float(moved[2, 0]) < 0.1  # a ball without texture: only its outline moves
    stored = tmp_path / "out" / "3_registration" / "driven.npz"
    before = stored.stat().st_mtime_ns
    registration.track_video(frames, posed, workspace, config, predict=predict)
    assert stored.stat().st_mtime_ns == before
    registration.track_video(frames, posed, workspace, config, predict=lambda mesh: predict(mesh) + 0.01)
    assert stored.stat().st_mtime_ns != before
