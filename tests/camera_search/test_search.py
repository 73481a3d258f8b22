import math

import numpy as np
import pytest
import torch

from camera_search import search
from camera_search.comparison import RenderComparison
from camera_search.search import distinct_views, find_camera
from camera_search.similarity import ImageAgreement
from v2m4.camera import Orbit
from v2m4.config import SearchConfig
from v2m4.decimate import simplified
from v2m4.frame import Frame
from v2m4.rotation import angles_between

SMALL = SearchConfig(samples=256, islands=5, particles=30, swarm_steps=6, refine_steps=30, size=64)
TRUTHS = [Orbit.of(2.3, 0.3, 2.6, (0.1, 0.0, -0.1)), Orbit.of(-0.4, -0.5, 3.5), Orbit.of(1.2, 0.1, 1.5, (0, 0.15, 0))]


def _draw(seed=0):
    return torch.Generator().manual_seed(seed)


def _error(first, second):
    rotations = [orbit.camera().extrinsics[0, :3, :3] for orbit in (first, second)]
    return math.degrees(float(angles_between(*rotations)))


@pytest.mark.parametrize("truth", TRUTHS, ids=["above", "below", "truncated by the image"])
def test_finds_the_camera_without_a_hint(creature, camera_of, truth):
    result = find_camera(creature, camera_of(creature, truth, 256), SMALL, _draw())
    assert _error(result.orbit, truth) < 2.0
    torch.testing.assert_close(result.orbit.camera().positions(), truth.camera().positions(), atol=0.15, rtol=0)
    assert list(result.history) == ["samples", "swarm", "guess", "refined"]


def test_finds_the_camera_with_the_published_order(creature, camera_of):
    published = SearchConfig(
        samples=256, islands=0, particles=40, swarm_steps=8, refined=1, refine_steps=30, refine_on="mask", size=64
    )
    result = find_camera(creature, camera_of(creature, TRUTHS[0], 256), published, _draw())
    assert list(result.history) == ["samples", "guess", "swarm", "refined"]
    assert _error(result.orbit, TRUTHS[0]) < 3.0


@pytest.mark.parametrize(("degrees", "radius"), [(12, 9.0), (75, 1.5)])
def test_finds_the_camera_with_other_fields_of_view(creature, camera_of, degrees, radius):
    truth, fov = Orbit.of(0.7, 0.2, radius, (0.05, 0.0, 0.0)), math.radians(degrees)
    result = find_camera(creature, camera_of(creature, truth, 256, fov=fov), SMALL, _draw())
    assert _error(result.orbit, truth) < 3.0
    away = (result.orbit.camera().positions() - truth.camera().positions()).norm()
    assert float(away) < 0.05 * radius + 0.05


def test_score_is_not_below_a_hints(creature, camera_of):
    frame = camera_of(creature, TRUTHS[0], 256)
    poor = SearchConfig(samples=8, islands=1, particles=3, swarm_steps=0, refined=1, refine_steps=0, size=64)
    result = find_camera(creature, frame, poor, _draw(), [TRUTHS[0]])
    comparison = RenderComparison(simplified(creature, poor.refine_faces), frame, ImageAgreement())
    assert result.score >= float(comparison.score(comparison.view_parameters.views(TRUTHS[0]), 128)) - 1e-6
    assert _error(result.orbit, TRUTHS[0]) < 1.0


def test_finds_the_camera_with_wrong_hints(creature, camera_of):
    away = Orbit.of(0.0, 0.0, 2.0, (0.0, 0.0, -9.0))
    frame = camera_of(creature, TRUTHS[0], 256)
    result = find_camera(creature, frame, SMALL, _draw(), [Orbit.of(-1.0, 0.0, 2.0), away])
    assert _error(result.orbit, TRUTHS[0]) < 2.0


def test_an_accepted_hint_is_refined_and_no_other_camera_is_searched(creature, camera_of, monkeypatch):
    monkeypatch.setattr(search, "_search_sphere", lambda *_: pytest.fail("searched"))
    frame = camera_of(creature, TRUTHS[0], 256)
    near = Orbit.of(2.31, 0.3, 2.6, (0.1, 0.0, -0.1))
    result = find_camera(creature, frame, SMALL, _draw(), [Orbit.of(-1.0, 0.0, 2.0), near], accepted=0.8)
    assert list(result.history) == ["hint", "refined"]
    assert _error(result.orbit, TRUTHS[0]) < 1.0


def test_a_hint_that_is_not_accepted_does_not_prevent_the_search(creature, camera_of):
    frame = camera_of(creature, TRUTHS[0], 256)
    result = find_camera(creature, frame, SMALL, _draw(), [Orbit.of(-1.0, 0.0, 2.0)], accepted=0.95)
    assert list(result.history) == ["hint", "samples", "swarm", "guess", "refined"]
    assert _error(result.orbit, TRUTHS[0]) < 2.0


def test_simplified_meshes_with_other_bounding_boxes_share_one_camera(creature, camera_of, monkeypatch):
    """Views are relative to the box's centre: were it each mesh's own, the camera would not be the one scored."""

    def simplified(mesh, faces):
        cut = mesh.vertices.clone()
        cut[:, 1] = cut[:, 1].clamp_max(float(cut[:, 1].max()) - (0.05 if faces == SMALL.refine_faces else 0.15))
        return mesh.with_vertices(cut)

    monkeypatch.setattr(search, "simplified", simplified)
    frame = camera_of(creature, TRUTHS[1], 256)
    result = find_camera(creature, frame, SMALL, _draw(), [TRUTHS[1]])
    comparison = RenderComparison(simplified(creature, SMALL.refine_faces), frame, ImageAgreement())
    again = float(comparison.score(comparison.view_parameters.views(result.orbit), 2 * SMALL.size))
    assert again == pytest.approx(result.score, abs=1e-4)


def test_search_is_deterministic_and_restores_torch_threads(creature, camera_of):
    frame = camera_of(creature, TRUTHS[1], 128)
    threads = torch.get_num_threads()
    first, second = (find_camera(creature, frame, SMALL, _draw(3)) for _ in range(2))
    assert torch.equal(first.orbit.parameters(), second.orbit.parameters())
    assert first.history == second.history
    assert torch.get_num_threads() == threads


def test_distinct_views_are_the_best_ones_apart():
    views = torch.zeros(5, 5)
    views[:, 0] = torch.tensor([0.0, 0.05, 1.0, 1.1, 2.0])
    picked = distinct_views(views, torch.tensor([0.8, 0.9, 0.3, 0.5, 0.4]), 3, min_angle=0.3)
    assert picked.tolist() == [1, 3, 4]


def test_a_frame_without_foreground_is_an_error(creature):
    with pytest.raises(ValueError, match="no foreground"):
        find_camera(creature, Frame("e", 0, np.zeros((32, 32, 4), np.uint8)), SMALL, _draw())
