"""Misfit of a pose: none for the true one, and of known size for known errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from registration.correspondences.appearance_model import AppearanceModel, RenderedPose
from registration.correspondences.photometric_flow import AppearanceFlow
from registration.video.misfit import Misfit, outline_mismatch
from registration.video.parts import MeshParts
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh

SIZE = 160


@pytest.fixture(scope="module")
def body() -> Mesh:
    return at(speckled(3), 0.0)


def rendered(pose: Mesh, shown: Mesh) -> RenderedPose:
    """A pose in the view of a frame that shows another one."""
    view = ImageWindow.of(photographed(shown, 0), Camera.identity(), SIZE, [pose.vertices])
    return AppearanceModel(pose).render(pose.vertices, view)


def misfit(pose: Mesh, shown: Mesh) -> Misfit:
    rendering = rendered(pose, shown)
    return Misfit.of(rendering, AppearanceFlow.of(rendering))


def right_half_dark(mesh: Mesh) -> Mesh:
    right = (mesh.vertices[:, :1] > mesh.vertices[:, :1].mean()).float()
    return replace(mesh, colors=mesh.colors * (1 - 0.8 * right))


def test_the_true_pose_fits(body: Mesh) -> None:
    result = misfit(body, body)
    assert result.agreement > 0.9
    assert (result.color_mismatch, result.outline_mismatch) == (0.0, 0.0)
    assert result.wrong.mean() < 0.01


def test_share_of_another_colour(body: Mesh) -> None:
    assert misfit(body, right_half_dark(body)).color_mismatch == pytest.approx(0.5, abs=0.15)


def test_another_pose_disagrees(body: Mesh) -> None:
    """A body that is rotated by half a turn shows its other side within the same outline."""
    centre = body.vertices.mean(0)
    turned = body.with_vertices((body.vertices - centre) * torch.tensor([-1.0, 1.0, -1.0]) + centre)
    result = misfit(turned, body)
    assert result.agreement < 0.4
    assert result.color_mismatch > 0.3
    assert result.outline_mismatch < 0.1


def test_outlines_apart() -> None:
    square, farther = np.zeros((2, 100, 100), bool)
    square[20:60, 20:60] = True
    farther[20:60, 20:80] = True  # the right side is 20 pixels off
    assert outline_mismatch(square, square, 40) == 0
    assert outline_mismatch(square, farther, 40) == pytest.approx(0.3, abs=0.05)
    assert outline_mismatch(square, np.zeros_like(square), 40) == 1


def test_the_part_that_does_not_fit_is_named(body: Mesh) -> None:
    middle = body.vertices[body.faces].mean(1)[:, 0]
    parts = MeshParts(("body", "right limb"), (middle > body.vertices[:, 0].mean()).long().numpy())
    assert misfit(body, right_half_dark(body)).lost_parts(rendered(body, body), parts) == ["right limb"]
    assert misfit(body, body).lost_parts(rendered(body, body), parts) == []
