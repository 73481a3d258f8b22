import math

import pytest
import torch

from camera_search.comparison import RenderComparison
from camera_search.refine import refine
from camera_search.similarity import ImageAgreement
from camera_search.views import view_angles
from v2m4.camera import Orbit
from v2m4.mesh import Mesh

TRUTH = Orbit.of(-0.8, 0.15, 2.2, (0.03, 0.05, 0.0))


@pytest.fixture(scope="module")
def comparison(creature, camera_of):
    return RenderComparison(creature, camera_of(creature, TRUTH, 256), ImageAgreement())


def test_converges_from_five_degrees_away(comparison):
    truth = comparison.view_parameters.views(TRUTH)
    start = truth + torch.tensor([[0.07, 0.05, 0.01, -0.01, 0.05], [-0.06, 0.06, 0.0, 0.02, -0.05]])
    assert float(view_angles(start, truth).min()) > math.radians(4.5)
    refined, values = refine(comparison, start, 128, 60)
    assert float(view_angles(refined, truth).max()) < math.radians(1.0)
    torch.testing.assert_close(refined[:, 2:], truth[:, 2:].expand(2, 3), atol=0.02, rtol=0)
    torch.testing.assert_close(values, comparison.score(refined, 128), atol=1e-3, rtol=0)


def test_agreement_is_never_below_the_initial_one(comparison):
    truth = comparison.view_parameters.views(TRUTH)
    _, values = refine(comparison, truth, 96, 10)
    assert float(values) >= float(comparison.score(truth, 96)) - 1e-5


def test_no_steps_leave_views_unchanged(comparison):
    truth = comparison.view_parameters.views(TRUTH)
    assert torch.equal(refine(comparison, truth, 64, 0)[0], truth)


def test_a_mesh_without_faces_is_an_error(creature, camera_of):
    bare = Mesh(creature.vertices, creature.faces[:0])
    with pytest.raises(ValueError, match=r"frame f: the mesh .* has no faces"):
        RenderComparison(bare, camera_of(creature, TRUTH), ImageAgreement())
