"""Stage 3 where the video moves one mesh: its result, what it keeps on disk, and what makes that stale."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.video import stage
from registration.video.quality import FitQuality
from registration.video.stage import CHECK_IMAGES, FOLDER, track_video
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.config import FAST, Config, VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import MeshSequence, PosedAsset
from v2m4.workspace import Workspace

COUNT = 4
MOTION = {"turn": 3.0, "step": 0.015}
CONFIG = replace(
    FAST, device="cpu", max_faces=5000, drive=VideoTrackingConfig(nodes=20, size=128, points=300, rounds=2, passes=1)
)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [photographed(at(speckled(2), index, **MOTION), index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def posed() -> PosedAsset:
    return PosedAsset(at(speckled(2), 0, **MOTION), torch.eye(4))


@pytest.fixture(scope="module")
def moved(frames, posed, tmp_path_factory) -> tuple[MeshSequence, Workspace]:
    workspace = Workspace(tmp_path_factory.mktemp("moved"))
    return track_video(frames, posed, workspace, CONFIG), workspace


def off(sequence: MeshSequence, index: int) -> float:
    """Mean distance from the truth across the view, in the picture's plane, of what the camera sees."""
    truth = at(speckled(2), index, **MOTION).vertices
    front = truth[:, 2] < truth[:, 2].mean()
    return float((sequence.vertices[index] - truth)[front, :2].norm(dim=1).mean())


def refuse(*_, **__):
    raise AssertionError("work was done again")


def test_the_mesh_follows_the_video(moved, posed) -> None:
    sequence, _ = moved
    assert sequence.vertices.shape == (COUNT, len(posed.mesh.vertices), 3)
    assert sequence.times.tolist() == [0, 1, 2, 3]
    assert sequence.mesh is posed.mesh  # the rest pose is as it came
    still = MeshSequence(posed.mesh.vertices.expand_as(sequence.vertices), posed.mesh, sequence.times)
    for index in range(1, COUNT):
        assert off(sequence, index) < 0.25 * off(still, index)


def test_quality_and_pictures_are_kept(moved) -> None:
    _, workspace = moved
    told = workspace.manifest["motion"]
    assert told == FitQuality.describe(FitQuality.of_arrays(dict(np.load(workspace.path(f"{FOLDER}/driven.npz")))))
    for name in ("motion.png", *(f"{index}_check.png" for index in range(COUNT))):
        assert workspace.path(f"{FOLDER}/{name}").stat().st_size > 1000
    assert not workspace.path(f"{FOLDER}/first_frame.npz").exists()
    assert COUNT < CHECK_IMAGES


def test_a_second_run_takes_what_lies_there_and_other_options_or_frames_do_not(
    frames, posed, moved, monkeypatch
) -> None:
    sequence, workspace = moved
    monkeypatch.setattr(stage, "track_mesh", refuse)
    again = track_video(frames, posed, Workspace(workspace.root), CONFIG)
    assert torch.equal(again.vertices, sequence.vertices)
    darker = [*frames[:-1], replace(frames[-1], picture=frames[-1].rgba // 2)]
    other = replace(CONFIG, drive=replace(CONFIG.drive, rounds=3))
    for changed in ((darker, posed, CONFIG), (frames, posed, other), (frames[:-1], posed, CONFIG)):
        with pytest.raises(AssertionError, match="done again"):
            track_video(changed[0], changed[1], Workspace(workspace.root), changed[2])


def test_a_mesh_of_more_faces_is_moved_by_a_reduced_copy(frames, posed, moved, tmp_path, monkeypatch) -> None:
    tracked, track = [], stage.track_mesh
    monkeypatch.setattr(
        stage,
        "track_mesh",
        lambda frames, mesh, *more: (tracked.append(len(mesh.faces)), track(frames, mesh, *more))[1],
    )
    sequence = track_video(frames, posed, Workspace(tmp_path), replace(CONFIG, max_faces=150))
    assert tracked and tracked[0] <= 150 < len(posed.mesh.faces)
    assert sequence.vertices.shape == moved[0].vertices.shape
    assert sequence.mesh is posed.mesh
    for index in range(COUNT):
        assert off(sequence, index) < 0.02


def test_a_users_mesh_is_first_brought_into_the_first_frames_pose(frames, posed, tmp_path, monkeypatch) -> None:
    beside = posed.mesh.with_vertices(posed.mesh.vertices + torch.tensor([0.03, 0.0, 0.0]))
    started, track = [], stage.track_mesh
    monkeypatch.setattr(
        stage, "track_mesh", lambda frames, mesh, *more: (started.append(mesh.vertices), track(frames, mesh, *more))[1]
    )
    sequence = track_video(frames, replace(posed, mesh=beside), Workspace(tmp_path), CONFIG, user_mesh=True)
    with np.load(tmp_path / FOLDER / "first_frame.npz") as stored:
        assert np.array_equal(stored["vertices"], started[0].numpy())
    assert torch.equal(sequence.mesh.vertices, beside.vertices)  # its rest pose is its own
    assert off(sequence, 0) < 0.015


@pytest.mark.parametrize("lost", [False, True])
def test_lost_track_is_a_warning_with_the_first_frames_name(moved, frames, caplog, lost: bool) -> None:
    quality = FitQuality.of_arrays(dict(np.load(moved[1].path(f"{FOLDER}/driven.npz"))))
    states = [
        replace(state, lost="outline", lost_parts=("left limb",)) if lost and index > 1 else replace(state, lost="")
        for index, state in enumerate(quality.frames)
    ]
    with caplog.at_level("INFO", "v2m4.registration"):
        stage.log_quality(frames, FitQuality(states))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2 * lost
    if lost:
        assert "left limb (2 frames)" in warnings[1]
        assert f"track lost in 2 of {COUNT} frames, first in 2" in warnings[0]


def test_tracked_points_guide_and_make_stale(frames, posed, moved, tmp_path, monkeypatch) -> None:
    options: Config = replace(
        CONFIG, use_tracking=True, registration=replace(CONFIG.registration, tracker="flow", tracked_points=60)
    )
    given, track = [], stage.track_mesh
    monkeypatch.setattr(
        stage, "track_mesh", lambda frames, mesh, drive, tracked, *more: (
            given.append(tracked), track(frames, mesh, drive, tracked, *more)
        )[1]
    )  # fmt: skip
    sequence = track_video(frames, posed, Workspace(tmp_path), options)
    assert given[0].tracks.positions.shape[0] == COUNT
    assert 20 < given[0].tracks.positions.shape[1] <= 60
    assert off(sequence, COUNT - 1) < 0.015
    with pytest.raises(AssertionError, match="done again"):
        monkeypatch.setattr(stage, "track_mesh", refuse)
        track_video(frames, posed, Workspace(tmp_path), CONFIG)
