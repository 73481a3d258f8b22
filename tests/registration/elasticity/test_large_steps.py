import numpy as np
import pytest
import torch
from scipy import sparse

from registration.elasticity.large_steps import LargeSteps
from registration.elasticity.sparse_solver import CholeskySolver, LuSolver, scipy_matrix


def test_from_differential_inverts_to_differential(sphere) -> None:
    vertices, faces = sphere
    steps = LargeSteps(faces, len(vertices), 20.0)
    assert torch.allclose(steps.from_differential(steps.to_differential(vertices)), vertices, atol=1e-5)


def test_many_poses_are_solved_as_each_alone(sphere) -> None:
    vertices, faces = sphere
    steps = LargeSteps(faces, len(vertices), 5.0)
    poses = torch.stack([vertices, 2 * vertices + 1, vertices.flip(1)])
    together = steps.from_differential(steps.to_differential(poses))
    for pose, alone in zip(together, poses, strict=True):
        assert torch.allclose(pose, alone, atol=2e-5)


def test_both_factorisations_agree(sphere) -> None:
    vertices, faces = sphere
    pytest.importorskip("cholespy")
    matrix = scipy_matrix(LargeSteps(faces, len(vertices), 30.0).matrix)
    right = torch.randn(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    first, second = CholeskySolver(matrix).solve(right), LuSolver(matrix).solve(right)
    assert torch.allclose(first, second, atol=1e-5)
    assert np.allclose(matrix @ second.numpy(), right.numpy(), atol=1e-4)


def test_more_right_hand_sides_than_a_gpu_takes_are_solved_in_parts(sphere) -> None:
    vertices, faces = sphere
    pytest.importorskip("cholespy")
    solver = CholeskySolver(scipy_matrix(LargeSteps(faces, len(vertices), 5.0).matrix))
    right = torch.randn(len(vertices), 12, generator=torch.Generator().manual_seed(2))
    whole, inner, widths = solver.solve(right), solver._factor, []

    class Narrow:
        def solve(self, right: torch.Tensor, solution: torch.Tensor) -> None:
            assert right.is_contiguous() and solution.shape == right.shape
            widths.append(right.shape[1])
            inner.solve(right, solution)

    solver._factor, solver.max_columns = Narrow(), 5
    assert torch.allclose(solver.solve(right), whole, atol=1e-6)
    assert widths == [5, 5, 2]
    assert torch.allclose(solver.solve(right[:, :5]), whole[:, :5], atol=1e-6)
    assert widths[3:] == [5]


def test_solve_has_the_gradient_of_the_inverse() -> None:
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    steps = LargeSteps(faces, 4, 3.0, LuSolver(sparse.identity(4)))
    steps = LargeSteps(faces, 4, 3.0, LuSolver(scipy_matrix(steps.matrix)))
    inputs = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(steps.from_differential, (inputs,))


def test_larger_lambda_spreads_a_step_wider(sphere) -> None:
    vertices, faces = sphere
    push = torch.zeros_like(vertices)
    push[0, 0] = 1.0
    shares = []
    for smoothness in (1.0, 50.0):
        moved = LargeSteps(faces, len(vertices), smoothness).from_differential(push)[:, 0]
        shares.append(float(moved[0] / moved.sum()))
    assert shares[1] < 0.2 * shares[0]
