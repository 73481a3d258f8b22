"""The loops of stages 2 to 4 on the GPU against the CPU's: neighbours, rotations, solvers, energies, scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import registration
from camera_search.comparison import Comparison
from camera_search.sampling import hull_points, sample_views
from camera_search.similarity import PictureAgreement
from registration.elasticity.arap import Arap, shape_graph
from registration.elasticity.large_steps import LargeSteps
from registration.keyframes.energy import Chamfer, NormalMaps, State
from tests.camera_search.conftest import make_creature, photograph
from tests.registration.conftest import capsule, sphere  # noqa: F401  # fixtures
from tests.registration.keyframes.test_stage import KEYS, clip, config  # noqa: F401  # fixtures
from tests.texture.conftest import all_round  # noqa: F401  # a fixture
from tests.texture.test_solve import checks, observe
from texture.observe import observe_frames
from texture.solve import adam, least_squares
from texture.solve_torch import least_squares_in_torch
from v2m4 import geometry
from v2m4.camera import Orbit
from v2m4.mesh import Mesh
from v2m4.rotation import best_rotations
from v2m4.workspace import Workspace

pytestmark = pytest.mark.gpu


def clouds(device) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return torch.rand(4000, 3, generator=draw).to(device), torch.rand(9000, 3, generator=draw).to(device)


def with_gradients(search, queries, points):
    queries, points = queries.clone().requires_grad_(), points.clone().requires_grad_()
    distance, index = search(queries, points)
    (distance.square() * torch.linspace(0.5, 2, len(distance), device=distance.device)).sum().backward()
    return [part.detach().cpu() for part in (distance, index, queries.grad, points.grad)]


@pytest.mark.parametrize("search", [geometry.nearest, geometry.nearest_of_all_pairs, geometry.nearest_by_pytorch3d])
def test_neighbours_are_those_of_the_tree(gpu, performance, search):
    if search is geometry.nearest_by_pytorch3d:
        pytest.importorskip("pytorch3d", reason="pytorch3d is not installed: see Install.md")
        if geometry.pytorch3d_for(gpu.type) is None:
            pytest.skip(f"pytorch3d was not built for {gpu.type}")
    found, wanted = with_gradients(search, *clouds(gpu)), with_gradients(geometry.nearest, *clouds("cpu"))
    assert torch.equal(found[1], wanted[1])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    performance.check(f"{search.__name__}: neighbours and gradients", "the KD-tree's")


def test_rotations_are_the_cpus(gpu):
    correlations = torch.randn(20000, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(
        best_rotations(correlations.to(gpu)).cpu(), best_rotations(correlations), atol=1e-6, rtol=0
    )


def test_rigidity_is_the_cpus(gpu, capsule):  # noqa: F811
    arap = Arap(shape_graph(*capsule, thickness=0.5))
    pose = capsule[0] + 0.05 * torch.randn(capsule[0].shape, generator=torch.Generator().manual_seed(4))
    (energy, gradient), (found, slope) = arap.evaluate(pose), arap.evaluate(pose.to(gpu))
    assert found.device.type == slope.device.type == gpu.type
    assert torch.allclose(found.cpu(), energy, rtol=1e-4)
    assert torch.allclose(slope.cpu(), gradient, atol=1e-4 * float(gradient.abs().max()))


def test_large_steps_are_solved_as_on_the_cpu(gpu, capsule):  # noqa: F811
    vertices, faces = capsule
    many = torch.stack([vertices + 0.1 * index for index in range(50)])  # 150 right-hand sides: more than 128

    def solved(device):
        steps = LargeSteps(faces.to(device), len(vertices), 25.0)
        differential = steps.to_differential(many.to(device)).requires_grad_()
        back = steps.from_differential(differential)
        back.square().sum().backward()
        return back.detach().cpu(), differential.grad.cpu()

    (found, slope), (wanted, expected) = solved(gpu), solved("cpu")
    assert torch.allclose(found, many, atol=1e-3) and torch.allclose(found, wanted, atol=1e-3)
    assert torch.allclose(slope, expected, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["chamfer", "normals"])
def test_energies_are_the_cpus(rasteriser, sphere, kind):  # noqa: F811
    vertices, faces = sphere
    pose = vertices * torch.tensor([1.1, 0.9, 1.0])

    def value(device):
        target, points = Mesh(vertices, faces).to(device), pose.to(device).requires_grad_()
        if kind == "chamfer":
            term = Chamfer(1.0, target.faces, target, 1.0)
        else:
            term = NormalMaps(1.0, target.faces, target, views=4, size=256)
        energy = term(State(points, 0, torch.Generator().manual_seed(0)))
        energy.backward()
        return float(energy.detach()), points.grad.cpu()

    (found, slope), (wanted, expected) = value(rasteriser), value("cpu")
    assert found == pytest.approx(wanted, rel=1e-3 if kind == "chamfer" else 1e-2)
    cosine = torch.nn.functional.cosine_similarity(slope.reshape(1, -1), expected.reshape(1, -1))
    assert float(cosine) > (0.999 if kind == "chamfer" else 0.98)


def test_views_are_scored_as_on_the_cpu(rasteriser):
    creature = make_creature()
    frame = photograph(creature, Orbit.of(0.3, 0.2, 2.4))

    def scores(device):
        comparison = Comparison(creature.to(device), frame, PictureAgreement())
        draw = torch.Generator().manual_seed(0)
        views = sample_views(comparison.space, hull_points(comparison.mesh), comparison.box, 300, draw)
        return comparison.score(views, 96).cpu()

    found, wanted = scores(rasteriser), scores("cpu")
    assert float((found - wanted).abs().max()) < 0.02 and int(found.argmax()) == int(wanted.argmax())


def test_key_frames_are_registered_as_well_as_on_the_cpu(rasteriser, performance, clip, config, tmp_path):  # noqa: F811
    frames, posed, truth, shuffle = clip
    with performance.stage(f"a small clip, trust {config.registration.trust}", "registration"):
        sequence = registration.run(frames, KEYS, posed, Workspace(tmp_path), replace(config, device=rasteriser.type))
    assert sequence.vertices.device.type == "cpu"
    for position, index in enumerate(KEYS):
        off = (sequence.vertices[position] - truth[index].vertices[shuffle]).norm(dim=1)
        assert off.mean() < 0.02  # the body is 1 long


@pytest.mark.parametrize("solver", ["least_squares", "adam"])
def test_textures_are_the_cpus(rasteriser, all_round, solver):  # noqa: F811
    truth = checks(all_round)
    poses, mesh = all_round.sequence.vertices.to(rasteriser), all_round.mesh.to(rasteriser)
    views = observe_frames(all_round.frames(truth), poses, mesh, all_round.atlas, 160)
    given = (all_round.texels, all_round.seams)
    wanted = least_squares(observe(all_round, truth), *given, 0.01)
    if solver == "adam":
        found = adam(views, *given, 300, 0.01, 0, rasteriser)
        expected = adam(observe(all_round, truth), *given, 300, 0.01, 0)
        least = 30
    else:
        found, expected, least = least_squares_in_torch(views, *given, 0.01, rasteriser), wanted, 40
    error = np.square(found.texture - expected.texture)[wanted.weight > 1].mean()
    assert -10 * np.log10(float(error) + 1e-12) > least
