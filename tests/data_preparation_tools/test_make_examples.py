from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from data_preparation_tools.creatures import CREATURES, sculpt
from data_preparation_tools.make_examples import ground_truth_of, main
from v2m4.camera import Orbit
from v2m4.geometry import face_normals, unique_edges, vertex_normals
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.sources import find_animations
from v2m4.light import shade
from v2m4.render import render

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUDGET = 8_000_000  # bytes
each_animation = pytest.mark.parametrize("name", list(CREATURES))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    assert main(["--output", str(folder), "--frames", "4", "--size", "96", "--faces", "1500", "--only", "jelly"]) == 0
    return folder


def _alpha(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))[..., 3] / 255.0


def _overlap(truth: GroundTruth, index: int, alpha: np.ndarray) -> float:
    camera = truth.orbit().camera(float(truth.fov))
    mask = (
        render(truth.positions()[index], torch.from_numpy(truth.faces), camera, alpha.shape[0], channels=("mask",))
        .mask[0, ..., 0]
        .numpy()
    )
    return float(np.minimum(mask, alpha).sum() / np.maximum(mask, alpha).sum())


def test_the_command_writes_pictures_and_their_truth(made):
    folder = made / "bouncing_jelly"
    assert sorted(path.name for path in folder.iterdir()) == [f"{index:04d}.png" for index in range(4)]
    truth = GroundTruth.load(made / TRUTH_FOLDER / "bouncing_jelly.npz")
    assert len(truth.vertices) == 4
    for index, path in enumerate(sorted(folder.iterdir())):
        picture = Image.open(path)
        assert picture.mode == "RGBA" and picture.size == (96, 96)
        assert _overlap(truth, index, _alpha(path)) > 0.97


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    main(["--output", str(tmp_path), "--frames", "4", "--size", "96", "--faces", "1500", "--only", "jelly"])
    files = sorted(path.relative_to(made) for path in made.rglob("*.*"))
    assert len(files) == 5
    for file in files:
        assert (made / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_another_seed_changes_the_paint_but_not_the_motion(made):
    creature = CREATURES["bouncing_jelly"]
    truth = GroundTruth.load(made / TRUTH_FOLDER / "bouncing_jelly.npz")
    other = ground_truth_of(sculpt(creature, 4, 1500, seed=1), creature.view, 24.0)
    assert np.array_equal(truth.vertices, other.vertices) and not np.array_equal(truth.colors, other.colors)


def test_an_unknown_animation_is_refused(tmp_path):
    assert main(["--output", str(tmp_path), "--only", "unicorn"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_rest_pose_fits_the_cube_and_the_truth_is_close():
    creature = CREATURES["waving_robot"]
    model = sculpt(creature, 3, 1500, seed=0)
    truth = ground_truth_of(model, creature.view, 24.0)
    size = np.ptp(model.poses.reshape(-1, 3), axis=0).max()
    assert np.abs(truth.positions().numpy() - model.poses).max() < 1e-4 * size
    pixels, _ = truth.orbit().camera().project(truth.positions().reshape(-1, 3), (1, 1))
    lower, upper = pixels[0].amin(0), pixels[0].amax(0)
    assert torch.allclose((lower + upper) / 2, torch.tensor(0.5), atol=5e-3)
    assert float((upper - lower).max()) == pytest.approx(creature.view[2], abs=5e-3)


def test_light_is_fixed_in_the_world_and_comes_from_above():
    colors, open_sky = torch.full((2, 3), 0.5), torch.ones(2, 1)
    up_down = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    above, below = shade(colors, up_down, open_sky, Orbit.of(0.3))
    assert (above > below).all()
    assert (shade(colors, up_down, 0 * open_sky, Orbit.of(0.3)) < torch.stack([above, below])).all()
    # Turning object and camera together changes nothing.
    sideways = torch.tensor([[0.6, 0.0, 0.8], [-0.6, 0.0, 0.8]])
    half_turn = sideways * torch.tensor([-1.0, 1.0, -1.0])
    args = (colors, sideways, open_sky, Orbit.of(0.0))
    assert torch.allclose(shade(*args), shade(colors, half_turn, open_sky, Orbit.of(np.pi)), atol=1e-5)


def test_the_examples_are_the_animations_that_the_program_finds():
    assert sorted(source.name for source in find_animations(EXAMPLES)) == sorted(CREATURES)
    files = [path for path in EXAMPLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BUDGET


@each_animation
def test_committed_pictures(name):
    paths = sorted((EXAMPLES / name).iterdir())
    assert [path.name for path in paths] == [f"{index:04d}.png" for index in range(len(paths))]
    assert 24 <= len(paths) <= 48
    for path in paths:
        with Image.open(path) as picture:
            assert picture.mode == "RGBA" and picture.size == (512, 512)
    spans = [np.argwhere(_alpha(path) > 0.5) for path in paths[::6]]
    assert all(0.45 < np.ptp(span, axis=0).max() / 512 < 0.8 for span in spans)


@each_animation
def test_committed_pictures_show_the_truth(name):
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{name}.npz")
    paths = sorted((EXAMPLES / name).iterdir())
    assert len(paths) == len(truth.vertices)
    for index in (0, len(paths) // 2, len(paths) - 1):
        assert _overlap(truth, index, _alpha(paths[index])) > 0.98
    assert _overlap(truth, len(paths) // 2, _alpha(paths[0])) < 0.95  # another frame's truth does not fit


@each_animation
def test_committed_truth_is_one_closed_surface_that_moves_without_folding(name):
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{name}.npz")
    poses, faces = truth.positions(), torch.from_numpy(truth.faces).long()
    assert truth.colors.shape == (poses.shape[1], 3)
    for pose in (poses[0], poses[len(poses) // 2]):
        mesh = trimesh.Trimesh(pose.numpy(), truth.faces, process=False)
        assert mesh.is_watertight and mesh.body_count == 1 and mesh.volume > 0
    edges = unique_edges(faces)
    lengths = (poses[:, edges[:, 0]] - poses[:, edges[:, 1]]).norm(dim=-1)
    typical = lengths.median(0).values
    assert (lengths / typical).max() < 2 and (lengths / typical).min() > 0.4
    normals = face_normals(poses, faces)
    around = vertex_normals(poses, faces)[:, faces].sum(2)
    assert torch.cosine_similarity(normals, around, dim=-1).min() > 0.2  # no face turns over


@each_animation
def test_committed_motion_is_a_loop(name):
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{name}.npz")
    poses = truth.positions()
    steps = (torch.roll(poses, -1, 0) - poses).norm(dim=-1).mean(1)
    assert steps[-1] < 1.3 * steps[:-1].max() and steps.max() > 0.002
