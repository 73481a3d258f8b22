"""Edge lengths of a mesh, and how far a pose stretches them."""

import numpy as np
import torch

from v2m4.edge_lengths import EdgeLengths

TETRAHEDRON = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def test_stretch_ratio_of_each_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(4, 3, generator=generator)
    stretched = vertices * torch.tensor([1.8, 1.0, 1.0])
    rest = EdgeLengths.of(vertices, TETRAHEDRON)
    ratio = rest.stretch_ratios(stretched)
    assert len(ratio) == 6
    assert 1.0 <= ratio.min() < ratio.max() <= 1.8 + 1e-4
    assert np.allclose(rest.stretch_ratios(vertices / 2), 2.0, atol=1e-4)
    first, second = (vertices[rest.edges[:, end]] for end in (0, 1))
    cosine_squared = ((first - second)[:, 0] / (first - second).norm(dim=1)).square().numpy()
    assert np.allclose(ratio, np.sqrt(1 + cosine_squared * (1.8**2 - 1)), atol=1e-3)


def test_edges_without_length_are_left_out() -> None:
    vertices = torch.tensor([[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]])
    rest = EdgeLengths.of(vertices, torch.tensor([[0, 1, 2], [0, 3, 1]]))
    assert len(rest.edges) == 4
    assert np.isfinite(rest.stretch_ratios(vertices * 0)).all()
