import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from camera_search import run, stage
from camera_search.search import SearchResult
from camera_search.stage import pose_asset, surface_center
from v2m4.camera import Camera, Orbit
from v2m4.config import FAST, SearchConfig
from v2m4.mesh import Asset
from v2m4.render import render_mesh
from v2m4.workspace import Workspace

CONFIG = replace(
    FAST,
    search=SearchConfig(samples=64, islands=2, particles=8, swarm_steps=2, refined=1, refine_steps=8, size=48),
)
ORBITS = [Orbit.of(0.3, 0.2, 2.4), Orbit.of(0.5, 0.2, 3.1, (0.1, 0.0, 0.0))]


@pytest.fixture(scope="module")
def inputs(creature, camera_of):
    frames = [camera_of(creature, orbit, 128, str(i), 5 * i) for i, orbit in enumerate(ORBITS)]
    return frames, [Asset(creature, ORBITS[0]), Asset(creature, ORBITS[1])]


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("clip"))
    return workspace, run(*inputs, workspace, CONFIG)


def test_posed_meshes_overlay_their_frames(inputs, done):
    for frame, posed in zip(inputs[0], done[1], strict=True):
        rendered = render_mesh(posed.mesh, Camera.identity(), 128, channels=("mask",)).mask[0]
        mask = frame.tensors(128)[1]
        assert float(torch.minimum(rendered, mask).sum() / torch.maximum(rendered, mask).sum()) > 0.95


def test_all_objects_have_the_depth_of_the_first(done):
    depths = [float(surface_center(posed.mesh)[2]) for posed in done[1]]
    assert depths[1] == pytest.approx(depths[0], rel=1e-5)
    assert done[1][0].scale == 1.0
    assert done[1][1].scale != pytest.approx(1.0, abs=0.05)


def test_scaling_about_the_camera_keeps_the_mask(creature):
    extrinsics = ORBITS[1].camera().extrinsics[0]
    masks = [
        render_mesh(pose_asset(creature, extrinsics, scale, 1.0).mesh, Camera.identity(), 64, channels=("mask",)).mask
        for scale in (1.0, 0.6)
    ]
    torch.testing.assert_close(masks[0], masks[1], atol=1e-2, rtol=0)


def test_cameras_and_posed_meshes_lie_on_disk(done):
    workspace, posed = done
    for name in ("0.npz", "0.png", "1.npz", "1.png"):
        assert workspace.path(f"2_camera_search/{name}").is_file()
    assert workspace.path("1_re-canonicalization_sample.glb").is_file()
    cameras = json.loads(workspace.path("2_camera_search/cameras.json").read_text())
    assert [entry["index"] for entry in cameras] == [0, 5]
    torch.testing.assert_close(torch.tensor(cameras[1]["extrinsics"]), posed[1].extrinsics)


def test_a_second_run_reads_the_files(inputs, done, monkeypatch):
    monkeypatch.setattr(stage, "find_camera", lambda *_: pytest.fail("searched again"))
    again = run(*inputs, Workspace(done[0].root), CONFIG)
    for first, second in zip(done[1], again, strict=True):
        assert torch.equal(first.mesh.vertices, second.mesh.vertices)


def test_an_interrupted_run_ends_with_the_same_result(inputs, done, tmp_path):
    frames, assets = inputs
    run(frames[:1], assets[:1], Workspace(tmp_path), CONFIG)
    again = run(frames, assets, Workspace(tmp_path), CONFIG)
    assert torch.equal(again[1].mesh.vertices, done[1][1].mesh.vertices)


def test_numbers_of_frames_and_assets_must_match(inputs, tmp_path):
    with pytest.raises(ValueError, match="1 assets for 2 frames"):
        run(inputs[0], inputs[1][:1], Workspace(tmp_path), CONFIG)


@pytest.mark.parametrize(
    ("hint", "similarity", "accepted"),
    [(ORBITS[0], "agreement", 0.9), (None, "agreement", math.inf), (ORBITS[0], "dreamsim", math.inf)],
    ids=["the generator's own camera", "none", "a network is asked for"],
)
def test_a_generators_own_camera_is_accepted(inputs, tmp_path, monkeypatch, hint, similarity, accepted):
    given = []

    def found(*arguments):
        given.append(arguments[-1])
        return SearchResult(ORBITS[0], 1.0, {"refined": 1.0})

    monkeypatch.setattr(stage, "find_camera", found)
    monkeypatch.setattr(stage.LearnedParts, "load", lambda config: SimpleNamespace(similarity=None, proposers=None))
    config = replace(CONFIG, search=replace(CONFIG.search, accepted=0.9, similarity=similarity))
    run(inputs[0][:1], [Asset(inputs[1][0].mesh, hint)], Workspace(tmp_path), config)
    assert given == [accepted]


def test_posed_meshes_are_made_when_they_are_asked_for(inputs, done):
    posed = done[1]
    assert posed.kept_bytes == 0 and posed[1] is not posed[1]
    assert torch.equal(posed[1].mesh.vertices, inputs[1][1].mesh.transformed(posed[1].matrix()).vertices)
