"""Frames of simple shapes with soft edges, for the tests of stage 1."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from v2m4.frame import Frame
from v2m4.mesh import Mesh


def frame_of(inside: np.ndarray, name: str = "shape") -> Frame:
    """A frame from coverage (H, W) in [0, 1]; red grows to the right, green downwards, the background is blue."""
    height, width = inside.shape
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., 0] = np.linspace(40, 250, width)
    rgba[..., 1] = np.linspace(40, 250, height)[:, None]
    rgba[inside < 0.5] = (0, 0, 255, 0)
    rgba[..., 3] = np.round(255 * inside)
    return Frame(name, 0, rgba)


def coverage(signed: np.ndarray) -> np.ndarray:
    """Antialiased coverage of a signed distance in pixels, positive inside."""
    return np.clip(signed + 0.5, 0, 1)


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of the pixels' centres."""
    return np.arange(size[1])[None] + 0.5, np.arange(size[0])[:, None] + 0.5


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    x, y = grid(size)
    return coverage(radius - np.hypot(x - centre[0], y - centre[1]))


def ring(size: tuple[int, int], centre: tuple[float, float], outer: float, inner: float) -> np.ndarray:
    return np.minimum(disc(size, centre, outer), 1 - disc(size, centre, inner))


def strip(size: tuple[int, int], start: tuple[float, float], end: tuple[float, float], radius: float) -> np.ndarray:
    """A straight limb with round ends."""
    x, y = grid(size)
    axis = np.subtract(end, start)
    fraction = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / (axis @ axis), 0, 1)
    return coverage(radius - np.hypot(x - start[0] - fraction * axis[0], y - start[1] - fraction * axis[1]))


def figure() -> tuple[np.ndarray, np.ndarray]:
    """Octahedron with distinguishable axes: longest upwards (+y), then to the front (+z), then to its left (+x)."""
    vertices = np.array([[0.5, 0, 0], [-0.3, 0, 0], [0, 1.0, 0], [0, -0.3, 0], [0, 0, 0.8], [0, 0, -0.3]], np.float32)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    return vertices, faces


def assert_upright(mesh: Mesh) -> None:
    """Assert that a mesh is the figure in canonical pose, in any order of vertices and faces."""
    expected = (figure()[0] - [0.1, 0.35, 0.25]) / 1.3
    found = mesh.vertices.numpy()
    assert found.shape == expected.shape
    assert np.allclose(found[np.lexsort(found.T.round(4))], expected[np.lexsort(expected.T.round(4))], atol=1e-5)
    corners = found[mesh.faces.numpy()]
    assert np.linalg.det(corners).sum() > 0  # anti-clockwise from outside


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> ModuleType:
    """Fake module of an owner, importable, and installed for ``importlib``, until the test ends."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
    module.__path__ = []
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, module)
    if "." in name:
        parent, child = name.rsplit(".", 1)
        monkeypatch.setattr(sys.modules[parent], child, module, raising=False)
    return module


@pytest.fixture(scope="session")
def shapes() -> SimpleNamespace:
    """The functions above; test files cannot import each other."""
    return SimpleNamespace(
        frame_of=frame_of,
        disc=disc,
        ring=ring,
        strip=strip,
        figure=figure,
        assert_upright=assert_upright,
        fake_module=fake_module,
    )
