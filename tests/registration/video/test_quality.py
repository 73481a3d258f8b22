"""Quality of fit: perfect for the true pose, and right about known errors."""

from __future__ import annotations

import math
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from registration.correspondences.appearance_model import AppearanceModel
from registration.diagnostics import MARK_COLOR
from registration.video.parts import MeshParts
from registration.video.quality import FitQuality, FrameQuality, loss_reason, measure
from registration.video.tuning import TUNING
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera
from v2m4.edge_lengths import EdgeLengths
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


def test_the_true_pose_has_no_error(body: Mesh) -> None:
    result = quality(body, photographed(body, 0))
    assert result.iou > 0.99
    assert result.residual < 0.05
    assert result.confidence > 0.3
    assert (result.stretched_share, result.lost) == (0.0, "")
    assert result.stretch_99 == pytest.approx(1.0)


def test_residual_of_a_known_translation(body: Mesh) -> None:
    """A displacement of 2% of the body's height in the image is a residual of 2%."""
    frame = photographed(body, 0)
    box = object_box(frame)
    height = (box[3] - box[1]) * 2 * math.tan(CAMERA.fov / 2)
    vertices = body.vertices.clone()
    vertices[:, 0] += 0.02 * height * vertices[:, 2]
    assert quality(body.with_vertices(vertices), frame).residual == pytest.approx(2.0, rel=0.15)


def test_loss_of_track_has_a_reason(body: Mesh) -> None:
    frame = photographed(body, 0)
    first = quality(body, frame)
    assert first.lost == "" and quality(body, frame, first).lost == ""
    away = body.with_vertices(body.vertices + torch.tensor([0.5, 0.0, 0.0]))
    assert "outlines" in quality(away, frame, first).lost
    centre = body.vertices.mean(0)
    turned = body.with_vertices((body.vertices - centre) * torch.tensor([-1.0, 1.0, -1.0]) + centre)
    reason = quality(turned, frame, first).lost  # the outlines fit, what is painted within them does not
    assert "another colour" in reason and "not found" in reason and "outlines" not in reason
    torn = body.with_vertices(body.vertices + 0.03 * torch.randn(body.vertices.shape, generator=torch.manual_seed(0)))
    assert "stretched" in quality(torn, frame, first, rest=body).lost
    empty = Frame("0", 0, np.zeros((64, 64, 4), np.uint8))
    assert "no object" in quality(body, empty, first).lost


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        ({"iou": 0.99 * (1 - TUNING.max_iou_decrease)}, "IoU"),
        ({"outline_mismatch": 1.1 * TUNING.max_outline_mismatch}, "apart"),
        ({"color_mismatch": 1.1 * TUNING.max_color_mismatch}, "another colour"),
        ({"agreement": 0.99 * (1 - TUNING.max_agreement_decrease)}, "not found"),
        ({"residual": 1.1 * TUNING.max_residual_increase}, "residual"),
        ({"stretched_share": 1.1 * TUNING.max_stretched_share}, "stretched"),
    ],
)
def test_each_measure_alone_is_a_loss(body: Mesh, worse: dict[str, float], word: str) -> None:
    first = FrameQuality(iou=1.0, residual=0.0, confidence=0.3, stretched_share=0.0, stretch_99=1.0)
    view = ImageWindow.of(photographed(body, 0), CAMERA, 160, [body.vertices])
    assert loss_reason(first, first, view) == ""
    reason = loss_reason(replace(first, **worse), first, view)
    assert word in reason and ";" not in reason


def test_after_a_lost_frame_the_limits_are_lower(body: Mesh) -> None:
    first = FrameQuality(iou=1.0, residual=0.0, confidence=0.3, stretched_share=0.0, stretch_99=1.0)
    view = ImageWindow.of(photographed(body, 0), CAMERA, 160, [body.vertices])
    worse = replace(first, agreement=1 - 0.7 * TUNING.max_agreement_decrease)
    assert loss_reason(worse, first, view) == ""
    assert "not found" in loss_reason(worse, first, view, was_lost=True)
    assert loss_reason(first, first, view, was_lost=True) == ""


def test_the_lost_part_is_told(body: Mesh) -> None:
    """Half of a body whose colour changes between the frames."""
    middle = body.vertices[body.faces].mean(1)[:, 0]
    parts = MeshParts(("body", "right limb"), (middle > body.vertices[:, 0].mean()).long().numpy())
    right = (body.vertices[:, :1] > body.vertices[:, :1].mean()).float()
    frame = photographed(replace(body, colors=body.colors * (1 - 0.8 * right)), 0)
    view = ImageWindow.of(frame, CAMERA, 160, [body.vertices])
    rest = EdgeLengths.of(body.vertices, body.faces)
    first = quality(body, photographed(body, 0))
    assert measure(body.vertices, AppearanceModel(body), view, rest, first, parts).lost_parts == ("right limb",)
    assert measure(body.vertices, AppearanceModel(body), view, rest, first).lost_parts == ()


def test_manifest_and_plot_hold_every_frame(body: Mesh, tmp_path) -> None:
    good = quality(body, photographed(body, 0))
    bad = FrameQuality(0.2, 5.0, 0.1, 0.3, 2.5, lost="the outlines do not fit", lost_parts=("body", "left limb"))
    described = FitQuality([good, bad, good]).describe()
    assert described["lost"] == {"1": "the outlines do not fit"}
    assert described["lost_parts"] == {"1": ["body", "left limb"]}
    assert described["iou"] == [round(good.iou, 4), 0.2, round(good.iou, 4)]
    assert described["least_iou"] == 0.2
    FitQuality([good, bad, good]).draw(tmp_path / "motion.png")
    marked = (iio.imread(tmp_path / "motion.png") == MARK_COLOR).all(-1)
    FitQuality([good, good, good]).draw(tmp_path / "good.png")
    assert marked.mean() > 0.1 and not (iio.imread(tmp_path / "good.png") == MARK_COLOR).all(-1).any()
    FitQuality([]).describe()
