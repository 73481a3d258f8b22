"""Tracking that was interrupted goes on from its last stored state, and ends with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from registration.deformation_graph.articulation import Articulation
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video import first_frame, inbetweens, tracker
from registration.video.first_frame import fit_first_frame
from registration.video.inbetweens import fit_frames
from registration.video.tracker import track_mesh
from registration.video.tracking_state import TrackingState
from tests.registration.shapes import bent, painted, photographed
from v2m4 import partial_results
from v2m4.config import VideoTrackingConfig
from v2m4.frame import Frame
from v2m4.mesh import Mesh, MeshSequence
from v2m4.partial_results import PartialResults

COUNT = 6
CONFIG = VideoTrackingConfig(nodes=12, size=64, points=100, rounds=1, passes=2, window=3)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def store_every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_results, "INTERVAL", 0.0)


@pytest.fixture(scope="module")
def clip(capsule: tuple[Tensor, Tensor]) -> tuple[Mesh, list[Frame], Tensor]:
    """A limb that bends; the fourth frame shows nothing, so that track is lost and found again."""
    poses = torch.stack(
        [bent(capsule[0], 0.08 * time) + torch.tensor([0.02 * time, 0.0, 2.5]) for time in range(COUNT)]
    )
    mesh = painted(capsule[0], capsule[1])
    frames = [photographed(mesh.with_vertices(each), time) for time, each in enumerate(poses)]
    frames[3] = replace(frames[3], picture=np.zeros_like(frames[3].rgba))
    return mesh.with_vertices(poses[0]), frames, poses


def killed_after(calls: int, function: Callable) -> Callable:
    """The function, which ends the process before it is called for the time after ``calls`` ones."""
    count = 0

    def wrapped(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count > calls:
            raise Killed
        return function(*arguments, **options)

    return wrapped


def resumed(
    owner: object, name: str, calls: int, run: Callable[[PartialResults], object], folder: Path
) -> tuple[object, int]:
    """Result of runs that are each killed after some calls of a function, until one is not, and the number of kills."""
    kills = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, killed_after(calls, getattr(owner, name)))
            try:
                return run(PartialResults(folder, "key")), kills
            except Killed:
                kills += 1
                assert kills < 50


@pytest.fixture(scope="module")
def tracked(clip: tuple[Mesh, list[Frame], Tensor]) -> tracker.TrackedMesh:
    mesh, frames, _ = clip
    return track_mesh(frames, mesh, CONFIG)


@pytest.mark.parametrize(("name", "least"), [("_track_frame", 4), ("_solve_window", 3)])
def test_tracking_goes_on_after_each_frame_and_each_pass(clip, tracked, tmp_path: Path, name: str, least: int) -> None:
    mesh, frames, _ = clip
    counts: list[int] = []

    def run(parts: PartialResults) -> object:
        return track_mesh(frames, mesh, CONFIG, progress=counts.append, parts=parts)

    result, kills = resumed(tracker._Tracker, name, 1, run, tmp_path)
    assert kills >= least
    assert result.vertices.numpy().tobytes() == tracked.vertices.numpy().tobytes()
    assert result.quality == tracked.quality
    assert any(frame.lost for frame in tracked.quality.frames)
    assert counts[-1] == COUNT


def test_nothing_is_computed_once_all_windows_are_stored(clip, tracked, tmp_path: Path, monkeypatch) -> None:
    mesh, frames, _ = clip
    track_mesh(frames, mesh, CONFIG, parts=PartialResults(tmp_path, "key"))
    monkeypatch.setattr(tracker._Tracker, "_track_window", lambda *_: pytest.fail("done again"))
    counts: list[int] = []
    result = track_mesh(frames, mesh, CONFIG, progress=counts.append, parts=PartialResults(tmp_path, "key"))
    assert result.vertices.numpy().tobytes() == tracked.vertices.numpy().tobytes()
    assert result.quality == tracked.quality
    assert counts[-1] == COUNT
    with pytest.raises(BaseException, match="done again"):
        track_mesh(frames, mesh, CONFIG, parts=PartialResults(tmp_path, "another key"))


def test_a_state_comes_back_exactly() -> None:
    random = np.random.default_rng(0)
    poses = Poses(random.normal(size=(5, 6, 3, 3)), random.normal(size=(5, 6, 3)))
    articulation = Articulation(random.normal(size=9), random.normal(size=9), 12)
    state = TrackingState(7, 3, poses, 1, articulation, frozenset({8, 2}), frozenset())
    back = TrackingState.of_arrays(state.arrays())
    assert back.next_frame == state.next_frame == 9
    first, second = state.arrays(), back.arrays()
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }
    assert (back.lost, back.relocated, back.articulation.frames) == ({2, 8}, set(), 12)


def test_a_first_state_begins_after_the_first_frame(clip) -> None:
    mesh, _, _ = clip
    state = TrackingState.first(DeformationGraph.of(mesh.vertices, mesh.faces, 20))
    assert (state.start, state.next_frame, len(state.poses)) == (1, 1, 1)


def test_frames_between_go_on_after_each_round(clip, tmp_path: Path) -> None:
    mesh, frames, poses = clip
    keys = MeshSequence(poses[[0, 2, 5]] + 0.004, mesh, np.array([0.0, 2.0, 5.0]))
    config = replace(CONFIG, rounds=2)
    whole = fit_frames(frames, keys, config)
    result, kills = resumed(
        inbetweens, "solve", 2, lambda parts: fit_frames(frames, keys, config, parts=parts), tmp_path
    )
    assert kills >= 3
    assert result.vertices.numpy().tobytes() == whole.vertices.numpy().tobytes()


def test_the_first_frames_fit_goes_on_after_each_round(clip, tmp_path: Path) -> None:
    mesh, frames, poses = clip
    wrong = mesh.with_vertices(poses[2] + torch.tensor([0.02, 0.0, 0.0]))
    whole = fit_first_frame(wrong, frames[0], CONFIG)
    assert whole.errors[1] < whole.errors[0]
    result, kills = resumed(
        first_frame, "_lit_appearance", 1, lambda parts: fit_first_frame(wrong, frames[0], CONFIG, parts), tmp_path
    )
    assert kills >= 1
    assert result.vertices.numpy().tobytes() == whole.vertices.numpy().tobytes()
    assert (result.errors, result.rotated_limbs) == (whole.errors, whole.rotated_limbs)
