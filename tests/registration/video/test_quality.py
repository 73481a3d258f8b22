"""Numbers of a driven sequence: perfect where the pose is the truth, and honest where it is not."""

from __future__ import annotations

import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from registration.correspondences.appearance_model import AppearanceModel
from registration.video.quality import EdgeLengths, FitQuality, FrameQuality, measure
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera
from v2m4.frame import Frame
from v2m4.image_window import ImageWindow, object_box
from v2m4.mesh import Mesh

CAMERA = Camera.identity()


@pytest.fixture(scope="module")
def body() -> Mesh:
    return at(speckled(3), 0.0)


def quality(mesh: Mesh, frame: Frame, first: FrameQuality | None = None, rest: Mesh | None = None) -> FrameQuality:
    view = ImageWindow.of(frame, CAMERA, 160, [mesh.vertices])
    rest = rest or mesh
    return measure(mesh.vertices, AppearanceModel(mesh), view, EdgeLengths.of(rest.vertices, rest.faces), first)


def test_the_truth_is_well(body: Mesh) -> None:
    found = quality(body, photographed(body, 0))
    assert found.iou > 0.99
    assert found.residual < 0.05
    assert found.seen > 0.3
    assert (found.stretch, found.lost) == (0.0, "")
    assert found.stretch_99 == pytest.approx(1.0)


def test_a_shift_shows_as_residual(body: Mesh) -> None:
    """Moved by 2% of its height in the picture, along rays, the body is off by 2%."""
    frame = photographed(body, 0)
    box = object_box(frame)
    height = (box[3] - box[1]) * 2 * math.tan(CAMERA.fov / 2)
    vertices = body.vertices.clone()
    vertices[:, 0] += 0.02 * height * vertices[:, 2]
    assert quality(body.with_vertices(vertices), frame).residual == pytest.approx(2.0, rel=0.15)


def test_stretch_is_counted_per_edge(body: Mesh) -> None:
    half = body.vertices.clone()
    half[:, 0] = (half[:, 0] - 0.1) * 1.8 + 0.1
    rest = EdgeLengths.of(body.vertices, body.faces)
    ratio = rest.stretch(half)
    assert ratio.min() >= 1.0
    assert 1.6 < ratio.max() <= 1.8 + 1e-4
    assert np.allclose(rest.stretch(body.vertices / 2), 2.0, atol=1e-4)
    first, second = (body.vertices[rest.edges[:, end]] for end in (0, 1))
    along = ((first - second)[:, 0] / (first - second).norm(dim=1)).square().numpy()
    assert np.allclose(ratio, np.sqrt(1 + along * (1.8**2 - 1)), atol=1e-3)


def test_edges_without_length_are_left_out() -> None:
    vertices = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]])
    rest = EdgeLengths.of(vertices, torch.tensor([[0, 1, 2], [0, 3, 1]]))
    assert len(rest.edges) == 4
    assert np.isfinite(rest.stretch(vertices * 0)).all()


def test_loss_of_track_is_said_with_its_reason(body: Mesh) -> None:
    frame = photographed(body, 0)
    first = quality(body, frame)
    away = body.with_vertices(body.vertices + torch.tensor([0.5, 0.0, 0.0]))
    assert "outlines" in quality(away, frame, first).lost
    torn = body.with_vertices(body.vertices + 0.03 * torch.randn(body.vertices.shape, generator=torch.manual_seed(0)))
    assert "stretched" in quality(torn, frame, first, rest=body).lost
    empty = Frame("0", 0, np.zeros((64, 64, 4), np.uint8))
    assert "no object" in quality(body, empty, first).lost


def test_manifest_and_plot_tell_every_frame(body: Mesh, tmp_path) -> None:
    good = quality(body, photographed(body, 0))
    bad = FrameQuality(0.2, 5.0, 0.1, 0.3, 2.5, lost="the outlines do not fit")
    told = FitQuality([good, bad, good]).describe()
    assert told["lost"] == {"1": "the outlines do not fit"}
    assert told["iou"] == [round(good.iou, 4), 0.2, round(good.iou, 4)]
    assert told["least_iou"] == 0.2
    FitQuality([good, bad, good]).draw(tmp_path / "health.png")
    assert iio.imread(tmp_path / "health.png").std() > 0
    FitQuality([]).describe()
