"""Point tracks through videos of a body of known motion; CoTracker3's interface with a stand-in network."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from registration.correspondences import cotracker as _cotracker
from registration.correspondences.point_trackers import VISIBLE, FlowTracker, track_through
from registration.keyframes.lifted_tracks import TrackingViews, render_view, sample_visible_points
from tests.registration.moving_shapes import clip, motion
from v2m4.config import FAST
from v2m4.frame import Frame
from v2m4.optical_flow import Tracks, flow_between, track
from v2m4.preflight import registration as needs
from v2m4.weights import Unavailable

SIZE = 128


@pytest.fixture(scope="module")
def rendered_clip():
    """One view of six frames: images, query points in frame 2, and their true projections (6, N, 2)."""
    posed = clip(6)
    views = TrackingViews.around([asset.mesh for asset in posed], 2, posed[0].extrinsics, 8.0, 3)
    camera, meshes = views.cameras[1], [views.to_view_space(asset.mesh) for asset in posed]
    video = np.stack([render_view(mesh, camera, SIZE) for mesh in meshes])
    points, queries = sample_visible_points(meshes[2], camera, SIZE, 400, torch.Generator().manual_seed(0))
    rotation, translation = motion(2)
    mesh = posed[2].mesh
    canonical = (points.on(mesh.vertices, mesh.faces) - translation) @ rotation
    truth = []
    for time in range(6):
        rotation, translation = motion(time)
        moved = (canonical @ rotation.T + translation) @ views.matrix[:3, :3].T + views.matrix[:3, 3]
        truth.append(camera.project(moved, (1, 1))[0][0].numpy())
    return video, queries, np.stack(truth)


@pytest.fixture(scope="module")
def tracked(rendered_clip) -> Tracks:
    return track_through(FlowTracker(), rendered_clip[0], rendered_clip[1], 2)


def test_query_points_are_the_true_projections(rendered_clip) -> None:
    _, queries, truth = rendered_clip
    assert np.abs(queries - truth[2]).max() < 1e-4


def test_flow_tracks_are_the_true_projections_in_both_time_directions(rendered_clip, tracked) -> None:
    _, queries, truth = rendered_clip
    assert tracked.positions.shape == truth.shape
    assert np.array_equal(tracked.positions[2], queries)
    for time in range(6):
        visible = tracked.confidence[time] >= VISIBLE
        assert visible.mean() > 0.7
        assert np.median(np.linalg.norm(tracked.positions[time] - truth[time], axis=1)[visible]) * SIZE < 1.0


def test_windows_join_without_a_jump(rendered_clip) -> None:
    video, queries, _ = rendered_clip
    short = track_through(FlowTracker(), video, queries, 0, window=3, overlap=2)
    whole = track_through(FlowTracker(), video, queries, 0)
    both = (short.confidence >= VISIBLE) & (whole.confidence >= VISIBLE)
    assert both.mean() > 0.6
    assert np.abs(short.positions - whole.positions)[both].max() * SIZE < 0.5
    jumps = np.linalg.norm(np.diff(short.positions, axis=0), axis=2) * SIZE
    assert jumps.max() < 3 * np.median(jumps[0]) + 3


class ScriptedTracker:
    """A tracker in which point n moves by (n + 1) / 100 a frame and is visible except in the frames ``hidden[n]``."""

    def __init__(self, hidden: dict[int, set[int]]) -> None:
        self.hidden, self.calls = hidden, []

    def track(self, video: np.ndarray, points: np.ndarray, starts: np.ndarray) -> Tracks:
        time, count = video[:, 0, 0, 0].astype(np.int64), np.arange(len(points))
        self.calls.append((time.tolist(), starts.tolist()))
        displacement = (time[:, None] - time[starts]) * (count + 1) / 100
        confidence = np.array([[float(t not in self.hidden.get(n, ())) for n in count] for t in time.tolist()])
        confidence[starts, count] = 1.0
        return Tracks(points + displacement[..., None], confidence)


def counted(frames: int) -> np.ndarray:
    """Images that hold their own frame number."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 2, 2, 4))


def test_windows_overlap_and_query_from_the_last_frame_in_which_a_point_is_visible() -> None:
    tracker = ScriptedTracker({1: {11, 12}, 2: set(range(5, 40))})
    tracks = track_through(tracker, counted(20), np.zeros((3, 2)), 0, window=12, overlap=4)
    calls = [call for call in tracker.calls if len(call[0]) > 1]
    assert [call[0] for call in calls] == [list(range(12)), list(range(8, 20))]
    assert calls[1][1] == [3, 2, 3]
    assert np.allclose(tracks.positions[:, :2, 0], np.arange(20)[:, None] * [0.01, 0.02])
    assert (tracks.confidence[:, 0] == 1).all()
    assert np.flatnonzero(tracks.confidence[:, 1] == 0).tolist() == [11, 12]
    assert (tracks.confidence[5:, 2] == 0).all()  # visible in no shared frame: stays lost


def test_points_are_tracked_to_both_ends_of_a_video() -> None:
    tracks = track_through(ScriptedTracker({}), counted(50), np.full((1, 2), 0.5), 20, window=9, overlap=3)
    assert np.allclose(tracks.positions[:, 0, 0], 0.5 + (np.arange(50) - 20) * 0.01)


def test_occluded_points_have_low_confidence() -> None:
    """A grey bar moves over a still, textured disc."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    texture = np.kron(draw.integers(0, 255, (32, 32, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    disc = np.dstack([texture, 255 * (np.hypot(x - 64, y - 64) < 50).astype(np.uint8)])
    video = []
    for time in range(6):
        frame = disc.copy()
        frame[:, 20 + 8 * time : 40 + 8 * time] = (90, 90, 90, 255)
        video.append(frame)
    points = np.stack([np.full(40, 60.5), np.arange(44, 84) + 0.5], 1) / SIZE
    free = points + np.array([40 / SIZE, 0])
    tracks = track_through(FlowTracker(), np.stack(video), np.concatenate([points, free]), 0)
    assert (tracks.confidence[5, :40] < VISIBLE).mean() > 0.9
    assert (tracks.confidence[5, 40:] >= VISIBLE).mean() > 0.9


def test_flow_tracker_equals_direct_flow_tracks(rendered_clip) -> None:
    video, queries, _ = rendered_clip
    frames = [Frame(str(index), index, rgba) for index, rgba in enumerate(video)]
    flows = [flow_between(first, second) for first, second in pairwise(frames)]
    for stop, wanted in ((5, slice(2, 6)), (0, slice(2, None, -1))):
        direct = track(queries, 2, stop, flows)
        tracks = FlowTracker().track(video, queries, np.full(len(queries), 2))
        assert np.array_equal(tracks.positions[wanted], direct.positions)
        assert np.array_equal(tracks.confidence[wanted], direct.confidence)


OWNERS = {
    "cotracker/__init__.py": "",
    # facebookresearch/co-tracker at 82e02e8, cotracker/predictor.py
    "cotracker/predictor.py": """
import torch
class CoTrackerPredictor(torch.nn.Module):
    def __init__(self, checkpoint="./checkpoints/scaled_offline.pth", offline=True, v2=False, window_len=60):
        super().__init__()
        assert offline and not v2 and window_len == 60
        print("loading")
        self.model = torch.nn.Linear(1, 1)
        self.model.load_state_dict(torch.load(checkpoint, map_location="cpu"))
        self.model.eval()
    @torch.no_grad()
    def forward(self, video, queries=None, segm_mask=None, grid_size=0, grid_query_frame=0, backward_tracking=False):
        assert video.dtype == queries.dtype == torch.float32
        b, t, c, h, w = video.shape
        assert (b, c) == (1, 3) and video.max() > 128 and queries.shape[::2] == (1, 3)
        # Every query keeps its offset to the brightest pixel.
        brightest = video[0].sum(1).flatten(1).argmax(1)
        at = torch.stack([brightest % w, brightest // w], 1).float()
        start = queries[0, :, 0].long()
        tracks = at[:, None] + (queries[0, :, 1:] - at[start])[None] + self.model.bias
        visible = torch.rand(t, queries.shape[1]) >= 0
        visible[0] = False
        return tracks[None], visible[None]
""",
}


@pytest.fixture
def owners(tmp_path, monkeypatch):
    """A stand-in for the owner's package, and weights that its loader takes."""
    for name, text in OWNERS.items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text(text)
    folder = tmp_path / "weights" / "facebook" / "cotracker3"
    folder.mkdir(parents=True)
    network = torch.nn.Linear(1, 1)
    network.bias.data.fill_(0.0)
    torch.save(network.state_dict(), folder / "scaled_offline.pth")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield replace(FAST, weights_dir=tmp_path / "weights", device="cpu")
    for name in [name for name in sys.modules if name.split(".")[0] == "cotracker"]:
        del sys.modules[name]


def test_cotracker_input_and_output_match_the_owners_conventions(owners) -> None:
    video = np.zeros((4, 30, 40, 4), np.uint8)
    for time in range(4):
        video[time, 10 + time, 5 + 2 * time] = (250, 240, 230, 255)
    video[:, 0, 0] = (255, 255, 255, 0)  # transparent
    points = (np.array([[5, 10], [9, 12]]) + 0.5) / [40, 30]
    state = torch.get_rng_state()
    tracks = _cotracker.CoTracker(owners).track(video, points, np.array([0, 2]))
    assert torch.equal(torch.get_rng_state(), state)
    first = (np.stack([5 + 2 * np.arange(4), 10 + np.arange(4)], 1) + 0.5) / [40, 30]
    assert np.allclose(tracks.positions, np.repeat(first[:, None], 2, 1), atol=1e-6)
    assert tracks.confidence.tolist() == [[0, 0], [1, 1], [1, 1], [1, 1]]


def test_no_points_need_no_network(owners) -> None:
    tracks = _cotracker.CoTracker(owners).track(np.zeros((3, 8, 8, 4), np.uint8), np.zeros((0, 2)), np.zeros(0, int))
    assert tracks.positions.shape == (3, 0, 2)


def test_weights_of_another_network_are_named_in_the_error(owners) -> None:
    file = owners.weights_dir / "facebook/cotracker3/scaled_offline.pth"
    torch.save({"weight": torch.zeros(2, 2)}, file)
    with pytest.raises(Unavailable, match=r"scaled_offline\.pth: RuntimeError"):
        _cotracker.CoTracker(owners)


def test_other_weights_have_another_version(owners) -> None:
    before = needs.version(owners)
    (owners.weights_dir / "facebook/cotracker3/scaled_offline.pth").write_bytes(b"other")
    assert needs.version(owners) != before


def test_missing_weights_are_named_with_file_and_folder(owners) -> None:
    (owners.weights_dir / "facebook/cotracker3/scaled_offline.pth").unlink()
    with pytest.raises(Unavailable, match=r"put scaled_offline\.pth into .*weights/facebook/cotracker3"):
        needs.COTRACKER.check(owners)


def test_download_needs_the_hub_client(owners, monkeypatch) -> None:
    (owners.weights_dir / "facebook/cotracker3/scaled_offline.pth").unlink()
    monkeypatch.setattr("v2m4.weights.installed", lambda module: module != "huggingface_hub")
    with pytest.raises(Unavailable, match="pip install huggingface_hub"):
        needs.COTRACKER.check(replace(owners, download=True))


def test_a_missing_package_is_named_with_the_pip_command(monkeypatch) -> None:
    monkeypatch.setattr("v2m4.weights.installed", lambda module: module != "cotracker")
    config = replace(FAST, use_tracking=True)
    with pytest.raises(
        Unavailable, match=r"--use_tracking: cotracker is not installed; pip install git\+https://.*@82e02e8"
    ):
        needs.require(config)
    needs.require(replace(FAST, use_tracking=False))
