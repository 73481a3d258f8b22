"""Common parts of shape generators: the inputs of the texture network."""

from dataclasses import replace

import numpy as np
import torch

from generators import _learned
from generators._shape import ShapeGenerator
from generators._surface import colored
from v2m4.config import FAST
from v2m4.preflight import generators as needs
from v2m4.weights import Needs, Weights


def test_painter_gets_the_mesh_in_canonical_pose(shapes, tmp_path, monkeypatch):
    class Painter:
        version = "painter"

        def paint(self, surface, picture):
            assert picture.shape[2] == 4
            return colored(surface, torch.tensor([0.0, 1.0, 0.0]))

    class Figure(ShapeGenerator):
        name = "Figure"

        def _painter(self):
            return Painter()

        def _surface(self, picture, seed):
            assert picture.dtype == np.uint8 and seed == 42
            return shapes.figure()

    (tmp_path / "a").write_text("weights")
    weights = Weights("owner/name", ("a",), places=(tmp_path,))
    monkeypatch.setitem(needs.LEARNED, "Figure", lambda config: [Needs(weights=(weights,))])
    painted = Figure(FAST)
    frame = shapes.frame_of(shapes.disc((64, 64), (32, 32), 20), "2")
    mesh = painted.generate(frame).mesh
    shapes.assert_upright(mesh)
    assert (mesh.colors == torch.tensor([0.0, 1.0, 0.0])).all()
    bare = Figure(replace(FAST, generation=replace(FAST.generation, paint="none")))
    assert painted.version == bare.version + "painter"
    plain = bare.generate(frame).mesh
    assert mesh.color_confidence is None and not plain.color_confidence.any()
    mean = plain.colors
    assert torch.allclose(mean, _learned.mean_color(frame).expand_as(mean), atol=0.01)
