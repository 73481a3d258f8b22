import pytest
import torch

from registration.elasticity.arap import Arap, shape_graph
from registration.keyframes.energy import Chamfer, EdgeLength, FaceArea, NormalMaps, Rigidity, State, total
from tests.registration.shapes import random_rotation
from v2m4.mesh import Mesh


def state(vertices: torch.Tensor, step: int = 0, seed: int = 0) -> State:
    return State(vertices, step, torch.Generator().manual_seed(seed))


def shape_terms(vertices, faces) -> list:
    return [
        Rigidity(1.0, Arap(shape_graph(vertices, faces, 0.5))),
        EdgeLength(1.0, vertices, faces, 1.0),
        FaceArea(1.0, vertices, faces, 1.0),
    ]


@pytest.mark.parametrize("which", range(3), ids=["arap", "edge_length", "face_area"])
def test_shape_terms_and_their_gradients_are_zero_under_rigid_motion(capsule, which) -> None:
    generator = torch.Generator().manual_seed(which)
    term = shape_terms(*capsule)[which]
    moved = (capsule[0].double() @ random_rotation(generator).T + torch.randn(3, generator=generator)).float()
    moved.requires_grad_()
    value = term(state(moved))
    value.backward()
    stretched = float(term(state(1.2 * capsule[0])))
    assert float(value.detach()) < 1e-6 * stretched
    assert moved.grad.abs().max() < 1e-3 * stretched


@pytest.mark.parametrize("which", range(3), ids=["arap", "edge_length", "face_area"])
def test_gradients_of_shape_terms_are_those_of_finite_differences(capsule, which) -> None:
    generator = torch.Generator().manual_seed(7)
    term = shape_terms(*capsule)[which]
    pose = (capsule[0].double() + 0.03 * torch.randn(capsule[0].shape, generator=generator)).requires_grad_()
    direction = torch.randn(pose.shape, generator=generator)
    (gradient,) = torch.autograd.grad(term(state(pose)), pose)
    with torch.no_grad():
        ahead, behind = (float(term(state(pose + sign * 1e-6 * direction))) for sign in (1, -1))
    assert (ahead - behind) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-2)


def test_chamfer_falls_towards_the_target_and_its_gradient_points_away_from_it(sphere) -> None:
    vertices, faces = sphere
    target = Mesh(vertices, faces)
    there = float(Chamfer(1.0, faces, target, 1.0, torch.Generator().manual_seed(0))(state(vertices)))
    off = (vertices + torch.tensor([0.2, 0.0, 0.0])).requires_grad_()
    value = Chamfer(1.0, faces, target, 1.0, torch.Generator().manual_seed(0))(state(off))
    value.backward()
    assert there < 1e-3 < float(value.detach())
    assert off.grad[:, 0].sum() > 5 * off.grad[:, 1].sum().abs()


def test_chamfer_has_the_gradient_of_finite_differences_for_fixed_correspondences(sphere) -> None:
    vertices, faces = sphere
    term = Chamfer(1.0, faces, Mesh(1.2 * vertices, faces), 1.0, torch.Generator().manual_seed(0), redraw_every=5)
    generator = torch.Generator().manual_seed(0)
    pose = vertices.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(term(state(pose, step=0)), pose)
    direction = torch.randn(pose.shape, generator=generator)
    ahead, behind = (float(term(state(vertices + s * 1e-3 * direction, step=1))) for s in (1, -1))
    assert (ahead - behind) / 2e-3 == pytest.approx(float((gradient * direction).sum()), rel=1e-2)


def test_chamfer_trims_the_farthest_correspondences(sphere) -> None:
    vertices, faces = sphere
    few = faces[:20].reshape(-1).unique()
    spiky = vertices.clone()
    spiky[few] *= 3.0
    trimmed, plain = (
        Chamfer(1.0, faces, Mesh(spiky, faces), 1.0, torch.Generator().manual_seed(0), kept_share=keep)
        for keep in (0.6, 1.0)
    )
    assert float(trimmed(state(vertices))) < 0.05 * float(plain(state(vertices)))


def test_normal_maps_of_the_same_mesh_agree_and_of_a_rotated_one_do_not(capsule) -> None:
    vertices, faces = capsule
    term = NormalMaps(1.0, faces, Mesh(vertices, faces), views=4, size=48)
    assert float(term(state(vertices))) == 0.0
    turned = vertices[:, [1, 0, 2]] * torch.tensor([1.0, -1.0, 1.0])
    assert float(term(state(turned))) > 0.2


def test_total_weights_the_terms_and_skips_those_of_weight_0(capsule) -> None:
    class Count:
        def __init__(self, name: str, weight: float) -> None:
            self.name, self.weight, self.calls = name, weight, 0

        def __call__(self, state: State) -> torch.Tensor:
            self.calls += 1
            return state.vertices.sum() * 0 + 3.0

    first, second = Count("first", 2.0), Count("second", 0.0)
    energy, values = total([first, second], state(capsule[0]))
    assert float(energy) == 6.0
    assert {name: float(value) for name, value in values.items()} == {"first": 3.0}
    assert not values["first"].requires_grad
    assert second.calls == 0
