import math
from pathlib import Path

import numpy as np
import pytest
import trimesh

from evaluation.scaling import Run, back_and_forth, exponent, table, write_dense_mesh
from v2m4.ground_truth import GroundTruth
from v2m4.io.folder import list_pictures

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(size: int, seconds: float, registration: float) -> Run:
    return Run(size, seconds, 100.0, 10.0, {"registration": registration, "export": 1.0})


def test_exponents_of_power_laws() -> None:
    runs = [run(size, 0.5 * size**1.5, 0.1 * size) for size in (10, 40, 160)]
    assert exponent(runs) == pytest.approx(1.5)
    assert exponent(runs, "registration") == pytest.approx(1.0)
    assert exponent(runs, "export") == pytest.approx(0.0)
    assert math.isnan(exponent(runs, "texture"))
    lines = table(runs, "frames").splitlines()
    assert lines[0].split(" | ")[-2:] == ["registration", "export |"]
    assert lines[-1].startswith("| exponent | 1.50 |")


def test_frames_are_played_forwards_and_backwards(tmp_path: Path) -> None:
    clip = EXAMPLES / "walking_dino"
    pictures = list_pictures(clip)
    folder = back_and_forth(clip, tmp_path / "long", 2 * len(pictures))
    made = [path.read_bytes() for path in list_pictures(folder)]
    assert len(made) == 2 * len(pictures)
    assert made[: len(pictures)] == [path.read_bytes() for path in pictures]
    assert made[len(pictures)] == pictures[-2].read_bytes()
    assert made[2 * len(pictures) - 2] == pictures[0].read_bytes()


def test_a_dense_mesh_has_the_same_surface(tmp_path: Path) -> None:
    truth = GroundTruth.load(EXAMPLES / "ground_truth" / "walking_dino.npz")
    write_dense_mesh(truth, 30000, tmp_path / "mesh.glb")
    mesh = trimesh.load(tmp_path / "mesh.glb", force="mesh")
    assert 30000 <= len(mesh.faces) < 4 * 30000
    vertices = truth.vertices[0] * truth.step + truth.origin
    np.testing.assert_allclose(mesh.bounds, [vertices.min(0), vertices.max(0)], atol=1e-5)
