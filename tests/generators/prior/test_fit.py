from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import trimesh

from generators.inflate import Inflate
from generators.prior.correction import (
    Correction,
    correct,
    extrapolated,
    far_confidence,
    observe,
    tilts_of_clip,
    without_ghosts,
)
from generators.prior.fit import generate
from generators.prior.network import Prior
from generators.prior.tilt import BINS, deviation, median_ramps
from v2m4.config import Config
from v2m4.frame import Frame


@pytest.fixture(scope="module")
def frame() -> Frame:
    rgba = np.zeros((200, 240, 4), np.uint8)
    cv2.ellipse(rgba, (120, 90), (40, 60), 20, 0, 360, (200, 120, 40, 255), -1)
    cv2.line(rgba, (130, 120), (200, 180), (40, 120, 200, 255), 14)
    return Frame("frame", 0, rgba)


@pytest.fixture(scope="module")
def correction(frame: Frame) -> Correction:
    network = Prior().eval()
    return correct(network, observe(network, frame))


def test_fresh_network_gives_the_mesh_of_inflate(frame: Frame, correction: Correction) -> None:
    config = Config()
    expected = Inflate(config).generate(frame)
    asset = generate(frame, correction, config.generation.grid, config.max_faces, config.generation.texture_size)
    assert torch.equal(asset.mesh.faces, expected.mesh.faces)
    assert torch.allclose(asset.mesh.vertices, expected.mesh.vertices, atol=1e-5)
    assert asset.hint is not None
    assert expected.hint is not None
    assert torch.allclose(asset.hint.parameters(), expected.hint.parameters(), atol=1e-5)


def test_thicker_and_shifted_maps_give_a_closed_mesh_with_the_same_outline(
    frame: Frame, correction: Correction
) -> None:
    changed = replace(
        correction,
        log_ratio=np.full_like(correction.log_ratio, np.log(2)),
        shift=np.linspace(-0.3, 0.3, 64)[None, :] * np.ones((64, 1)),
    )
    plain, other = (generate(frame, item, 96, 4000, 128) for item in (correction, changed))
    mesh = trimesh.Trimesh(other.mesh.vertices.numpy(), other.mesh.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert len(mesh.faces) <= 4000
    height, width = frame.rgba.shape[:2]
    masks = []
    for asset in (plain, other):
        assert asset.hint is not None
        camera = asset.hint.camera(frame.fov, width / height)
        pixels, _ = camera.project(asset.mesh.vertices, (height, width))
        mask = np.zeros((height, width), np.uint8)
        mask = np.zeros((height, width), np.uint8)
        for triangle in np.rint(pixels[0].numpy()[asset.mesh.faces.numpy()]).astype(np.int32):
            cv2.fillConvexPoly(mask, triangle, 1)
        masks.append(mask)
    union, both = (masks[0] | masks[1]).sum(), (masks[0] & masks[1]).sum()
    assert both / union > 0.98
    depth = [float(np.ptp(asset.mesh.vertices[:, 2].numpy()) / np.ptp(asset.mesh.vertices[:, 1].numpy()))
             for asset in (plain, other)]  # fmt: skip
    assert depth[1] > 1.5 * depth[0]


def test_far_side_has_its_own_colours(frame: Frame, correction: Correction) -> None:
    colors = np.zeros((64, 64, 3))
    colors[..., 2] = 0.5
    asset = generate(frame, replace(correction, colors=colors), 96, 4000, 128)
    assert asset.mesh.texture is not None
    near, far = asset.mesh.texture.chunk(2, 1)
    inside = near[..., 0] > 0.7  # the ellipse
    assert float((far - near)[inside][:, 2].mean()) == pytest.approx(0.5, abs=0.05)
    assert float((far - near)[inside][:, 0].abs().mean()) < 0.05


def test_extrapolation_keeps_constants_and_fills_the_plane() -> None:
    known = np.zeros((32, 32), bool)
    known[10:14, 12:20] = True
    values = np.where(known, 3.0, -99.0)[..., None]
    assert np.allclose(extrapolated(values, known), 3)


def test_empty_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no foreground"):
        observe(Prior(), Frame("empty", 0, np.zeros((64, 64, 4), np.uint8)))


def test_tilt_of_a_clip_is_that_of_most_of_its_frames(frame: Frame) -> None:
    seen = observe(Prior().eval(), frame)
    right, left = torch.zeros(2, 1, 2, BINS)
    right[0, :, -3], left[0, :, 2] = 4.0, 4.0
    clip = [replace(seen, features=replace(seen.features, tilt=tilt)) for tilt in (right, right, left, right, right)]
    ramps = [median_ramps(tilt.softmax(-1)) for tilt in tilts_of_clip(clip)]
    assert all(bool((item > 0.1).all()) for item in ramps)
    alone = median_ramps(left[0].softmax(-1))
    assert torch.allclose(median_ramps(tilts_of_clip(clip[2:3])[0].softmax(-1)), alone, atol=0.05)


def test_feet_decide_where_the_network_does_not_know(frame: Frame) -> None:
    seen = observe(Prior().eval(), frame)
    width = float(deviation(seen.picture[None, 3:])[0, 0])
    ramps = median_ramps(tilts_of_clip([seen], lean=-0.2 / width)[0].softmax(-1))
    assert -0.25 < float(ramps[0]) < -0.1
    assert float(ramps[1]) == pytest.approx(0, abs=1e-6)


def test_removed_features_take_the_colours_around_them() -> None:
    known = np.zeros((64, 64), bool)
    known[8:56, 8:56] = True
    front = np.where(known[..., None], [0.8, 0.1, 0.1], 0.0)
    front[20:28, 24:40] = 1.0  # eyes, white
    back = front.copy()
    back[20:28, 24:40] = 0.6  # half removed by the network
    confidence = far_confidence(back, front, known)
    assert confidence[20:28, 24:40].max() < 1e-6 and confidence[40:50, 20:40].min() == 1
    assert not confidence[~known].any()
    found = without_ghosts(back, confidence, known)
    assert np.abs(found[22:26, 28:36] - [0.8, 0.1, 0.1]).max() < 0.05
    assert np.abs(found[40:50, 20:40] - [0.8, 0.1, 0.1]).max() < 1e-6
    assert np.array_equal(without_ghosts(front, far_confidence(front, front, known), known)[known], front[known])


def test_vertices_carry_the_confidence_in_their_colours(frame: Frame) -> None:
    network = Prior().eval()
    correction = correct(network, observe(network, frame))
    confidence = np.where(np.arange(64) < 32, 1.0, 0.0) * np.ones((64, 1))
    mesh = generate(frame, replace(correction, confidence=confidence), 96, 2000, 128).mesh
    near = torch.zeros(len(mesh.vertices), dtype=torch.bool)
    near[mesh.faces[: len(mesh.faces) // 2].reshape(-1)] = True
    assert mesh.color_confidence is not None and (mesh.color_confidence[near] == 1).all()
    left, right = mesh.vertices[:, 0] < -0.1, mesh.vertices[:, 0] > 0.1
    assert mesh.color_confidence[~near & left].mean() > 0.9 and mesh.color_confidence[~near & right].mean() < 0.1
    mirrored = generate(frame, None, 96, 2000, 128).mesh
    assert mirrored.color_confidence is not None and set(mirrored.color_confidence.tolist()) == {0.0, 1.0}


def test_removed_features_leave_no_outline() -> None:
    rgba = np.zeros((256, 256, 4), np.uint8)
    cv2.circle(rgba, (128, 128), 100, (200, 40, 40, 255), -1)
    for x in (95, 160):
        cv2.circle(rgba, (x, 110), 20, (255, 255, 255, 255), -1)
        cv2.circle(rgba, (x, 110), 20, (0, 0, 0, 255), 3)
    frame, network = Frame("face", 0, rgba), Prior().eval()
    correction = correct(network, observe(network, frame))
    plain = np.broadcast_to(np.float64([200, 40, 40]) / 255, correction.front.shape)
    asset = generate(frame, replace(correction, colors=plain - correction.front), 96, 4000, 512)
    assert asset.mesh.texture is not None
    near, far = (half[30:-30, 30:-30] for half in asset.mesh.texture.chunk(2, 1))
    assert float(near.std((0, 1)).max()) > 0.2
    assert float(far.std((0, 1)).max()) < 0.02
