"""Laws of the neighbours' agreement: 1 without evidence, low against it, blind to the object's size and to order."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from registration.correspondences.constraints import Constraints
from registration.correspondences.motion_consensus import MotionConsensus
from registration.correspondences.tuning import TUNING
from tests.registration.moving_shapes import at, speckled
from tests.registration.shapes import photographed
from v2m4.camera import Camera, image_fractions
from v2m4.image_window import ImageWindow
from v2m4.surface_points import SurfacePoints

RADIUS = TUNING.consensus_radius


def evidence(ways: np.ndarray, confidence: float = 1.0, size: float = 1.0, count: int = 200) -> MotionConsensus:
    """Points in a ball of a neighbourhood's radius that all go the same way."""
    draw = np.random.default_rng(0)
    places = draw.normal(0, RADIUS / 2, (count, 3))
    return MotionConsensus(cKDTree(places), np.broadcast_to(ways, (count, 2)), np.full(count, confidence), size)


MIDDLE = np.zeros((1, 3))


def test_without_evidence_everything_is_allowed() -> None:
    nobody = MotionConsensus(cKDTree(np.zeros((0, 3))), np.zeros((0, 2)), np.zeros(0), 1.0)
    assert nobody.agreement(np.zeros((5, 3)), np.ones((5, 2))).tolist() == [1.0] * 5
    assert evidence(np.array([3.0, 0.0])).agreement(np.zeros((0, 3)), np.zeros((0, 2))).shape == (0,)
    unsure = evidence(np.array([8.0, 0.0]), confidence=0.0)
    assert unsure.agreement(MIDDLE, np.array([[-8.0, 0.0]])) == pytest.approx(1)
    far = np.array([[20 * RADIUS, 0, 0]])
    assert evidence(np.array([8.0, 0.0])).agreement(far, np.array([[-8.0, 0.0]])) == pytest.approx(1)


def test_the_neighbours_own_way_is_allowed_and_the_opposite_is_not() -> None:
    neighbours = evidence(np.array([8.0, 0.0]))
    ways = np.array([[8.0, 0.0], [4.0, 0.0], [-8.0, 0.0]])
    same, less, opposite = neighbours.agreement(np.repeat(MIDDLE, 3, 0), ways)
    assert same == pytest.approx(1)
    assert opposite < 0.1
    assert opposite < less < same


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, 4.0])
def test_agreement_falls_with_the_difference_and_does_not_depend_on_the_direction(angle: float) -> None:
    direction = np.array([math.cos(angle), math.sin(angle)])
    lengths = np.array([6.0, 7.0, 9.0, 12.0, 20.0])
    found = evidence(6 * direction).agreement(np.zeros((5, 3)), lengths[:, None] * direction)
    reference = evidence(np.array([6.0, 0.0])).agreement(np.zeros((5, 3)), np.stack([lengths, 0 * lengths], 1))
    assert found[0] == pytest.approx(1)
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(found, reference, atol=1e-12)


def test_only_the_part_along_the_asked_way_counts() -> None:
    """Across it an outline says nothing: neighbours that go aside as well do not contradict."""
    sliding = evidence(np.array([5.0, 9.0]))
    assert sliding.agreement(MIDDLE, np.array([[5.0, 0.0]])) == pytest.approx(1)


def test_neighbours_that_disagree_among_themselves_are_less_believed() -> None:
    ways = np.tile([[10.0, 0.0], [-10.0, 0.0]], (100, 1))
    torn = MotionConsensus(evidence(np.zeros(2)).tree, ways, np.ones(200), 1.0)
    still = evidence(np.zeros(2))
    asked = np.array([[10.0, 0.0]])
    assert torn.agreement(MIDDLE, asked)[0] > 3 * still.agreement(MIDDLE, asked)[0]


def test_more_confidence_makes_a_contradiction_weigh_more() -> None:
    found = [
        float(evidence(np.array([8.0, 0.0]), confidence).agreement(MIDDLE, np.array([[-8.0, 0.0]]))[0])
        for confidence in (0.0, 1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert (np.diff(found) < 0).all()


def test_the_objects_size_does_not_count() -> None:
    small, large = (evidence(np.array([8.0, 0.0]), size=size) for size in (1.0, 30.0))
    places, ways = np.random.default_rng(1).normal(0, RADIUS, (20, 3)), np.tile([[3.0, 1.0]], (20, 1))
    np.testing.assert_allclose(small.agreement(places, ways), large.agreement(30 * places, ways), atol=1e-9)


def test_consensus_of_constraints_has_their_places_ways_and_confidences() -> None:
    mesh = at(speckled(2), 0.0)
    view = ImageWindow.of(photographed(mesh, 0), Camera.identity(), 128, [mesh.vertices])
    faces = torch.arange(0, len(mesh.faces), 7)
    points = SurfacePoints(faces, torch.full((len(faces), 3), 1 / 3))
    shift = np.array([4.0, -3.0])
    targets = (
        image_fractions(Camera.identity(), points.on(mesh.vertices, mesh.faces)).double().numpy() + shift * view.pixel
    )
    confidence = np.linspace(0.1, 1, len(faces))
    found = MotionConsensus.of(
        Constraints.at_points(points, targets, confidence), mesh.vertices, mesh.faces, view, object_size=2.0
    )
    np.testing.assert_allclose(found.displacements, np.tile(shift, (len(faces), 1)), atol=1e-3)
    np.testing.assert_allclose(found.weights, confidence, atol=1e-12)
    np.testing.assert_allclose(found.tree.data, points.on(mesh.vertices, mesh.faces).numpy() / 2, atol=1e-6)
    places = points.on(mesh.vertices, mesh.faces).numpy()[::5]
    with_it, against = (found.agreement(places, np.tile(sign * shift, (len(places), 1))) for sign in (1, -1))
    assert with_it.min() > 0.99
    assert against.max() < 0.6
