"""Cases of known truth: pictures and meshes of an animated file agree with each other and with the file."""

import zipfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from data_preparation_tools.render_ground_truth import brightened, check_visible, main, subdivide
from v2m4.camera import DEFAULT_FOV, Orbit
from v2m4.geometry import nearest
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.gltf import read_glb, write_animation_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh, MeshSequence
from v2m4.render import render_mesh

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "animated"
FRAMES, SIZE = 5, 96


def _sequence(textured: bool) -> MeshSequence:
    """A large egg that slides to its left and back in 1.5 seconds: two charts of two colours, or vertex colours."""
    ball = trimesh.creation.icosphere(2)
    rest = torch.tensor(ball.vertices, dtype=torch.float32) * torch.tensor([20.0, 40.0, 20.0]) + 100
    faces = torch.tensor(ball.faces)
    upper = (rest[faces].mean(1)[:, 1] > 100).long()
    if textured:
        texture = torch.zeros(16, 16, 3)
        texture[:, :8, 0], texture[:, 8:, 2] = 0.8, 0.6
        uvs = torch.tensor([[0.25, 0.5], [0.75, 0.5]])
        mesh = Mesh(rest, faces, uvs, upper[:, None].repeat(1, 3), texture)
    else:
        mesh = Mesh(rest, faces, colors=torch.full_like(rest, 0.5))
    slides = torch.tensor([0.0, 10.0, 0.0])[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    return MeshSequence(rest + slides, mesh, np.array([0.5, 1.25, 2.0]))


def _make(folder: Path, asset: Path, *more: str) -> int:
    options = ["--frames", str(FRAMES), "--size", str(SIZE), "--yaw", "20", "--faces", "2000", "--name", "case"]
    return main([str(asset), "--output", str(folder), *options, *more])


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("asset") / "egg.glb"
    write_animation_glb(path, _sequence(textured=True), quantize=False, name="slide")
    return path


@pytest.fixture(scope="module")
def case(asset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    assert _make(folder, asset, "--clip", "slide") == 0
    return folder


def _truth(case: Path) -> GroundTruth:
    return GroundTruth.load(case / TRUTH_FOLDER / "case.npz")


def _pictures(case: Path) -> np.ndarray:
    return np.stack([iio.imread(path) for path in sorted((case / "case").iterdir())])


def test_the_frames_are_one_period_without_its_end_in_one_similarity(case: Path, asset: Path) -> None:
    truth = _truth(case)
    assert [path.name for path in sorted((case / "case").iterdir())] == [f"{index:04d}.png" for index in range(FRAMES)]
    assert float(truth.fps) == pytest.approx(FRAMES / 1.5)
    times = 0.5 + 1.5 * np.arange(FRAMES) / FRAMES
    original = read_animation(asset, times=times, weld=True).vertices
    count = original.shape[1]
    lower, upper = original[0].amin(0), original[0].amax(0)
    expected = (original - (lower + upper) / 2) / (upper - lower).max()
    assert torch.allclose(truth.positions()[:, :count], expected, atol=1e-4)
    assert float(truth.positions()[0].abs().max()) == pytest.approx(0.5, abs=1e-4)


def test_the_motion_fills_the_picture_of_one_camera(case: Path) -> None:
    rows, columns = np.nonzero(_pictures(case)[..., 3].max(0) > 127)
    lower, upper = np.array([rows.min(), columns.min()]), np.array([rows.max(), columns.max()]) + 1
    assert (upper - lower).max() / SIZE == pytest.approx(0.8, abs=0.03)
    np.testing.assert_allclose((lower + upper) / 2 / SIZE, 0.5, atol=0.02)
    assert np.rad2deg(_truth(case).camera[0]) == pytest.approx(20, abs=1e-4)
    assert float(_truth(case).fov) == DEFAULT_FOV


def test_the_true_meshes_cover_the_pictures_in_their_colours(case: Path) -> None:
    truth, pictures = _truth(case), _pictures(case)
    sequence, camera = truth.sequence(), truth.orbit().camera(float(truth.fov))
    for index, picture in enumerate(pictures):
        seen = render_mesh(sequence[index], camera, SIZE, channels=("color", "mask"))
        mask, alpha = seen.mask[0, ..., 0].numpy() > 0.5, picture[..., 3] > 127
        assert (mask & alpha).sum() / (mask | alpha).sum() > 0.99
        red = (picture[..., 0].astype(int) - picture[..., 2])[alpha & mask]
        paint = (seen.color[0, ..., 0] - seen.color[0, ..., 2]).numpy()[alpha & mask]
        assert np.mean((red > 0) == (paint > 0)) > 0.97
        assert 0.2 < np.mean(red > 0) < 0.8


def test_a_textured_truth_is_fine_enough_and_closed(case: Path) -> None:
    truth = _truth(case)
    assert 2000 <= len(truth.faces) < 8000
    mesh = trimesh.Trimesh(truth.positions()[2].numpy(), truth.faces, process=False)
    assert mesh.is_watertight
    assert mesh.volume > 0


def test_the_first_mesh_is_the_truth_with_the_assets_own_texture(case: Path) -> None:
    truth = _truth(case)
    first = read_glb(case / TRUTH_FOLDER / "case.glb")
    apart, _ = nearest(first.vertices.double(), truth.positions()[0].double())
    assert apart.max() < 2 * float(truth.step)
    assert first.texture is not None and first.texture.shape == (16, 16, 3)
    assert truth.vertices.shape[1] > len(first.vertices) / 2


def test_the_same_options_give_the_same_bytes(case: Path, asset: Path, tmp_path: Path) -> None:
    assert _make(tmp_path, asset) == 0  # the first clip is the only one
    for path in [path for path in case.rglob("*") if path.is_file()]:
        assert (tmp_path / path.relative_to(case)).read_bytes() == path.read_bytes()


def test_vertex_colours_exposure_and_pace(tmp_path: Path) -> None:
    asset = tmp_path / "My Egg.glb"
    write_animation_glb(asset, _sequence(textured=False), name="Slide Left")
    options = ["--frames", "2", "--size", "64", "--yaw", "-90", "--fps", "12", "--clip", "0"]
    assert main([str(asset), "--output", str(tmp_path), *options]) == 0
    assert main([str(asset), "--output", str(tmp_path), *options, "--exposure", "1", "--name", "light"]) == 0
    dark = GroundTruth.load(tmp_path / TRUTH_FOLDER / "my_egg_slide_left_-90.npz")
    light = GroundTruth.load(tmp_path / TRUTH_FOLDER / "light.npz")
    assert dark.fps == 12
    np.testing.assert_array_equal(dark.vertices, light.vertices)
    assert len(dark.faces) == 320  # nothing to be gained from more
    linear = [((truth.colors[0] / 255 + 0.055) / 1.055) ** 2.4 for truth in (dark, light)]
    np.testing.assert_allclose(linear[1], 2 * linear[0], rtol=0.02)
    brightness = [
        iio.imread(tmp_path / name / "0000.png")[32, 32, :3].mean() for name in ("my_egg_slide_left_-90", "light")
    ]
    assert brightness[1] > 1.2 * brightness[0]


def test_still_meshes_of_any_format_and_unnamed_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--frames", "2", "--size", "32", "--output", str(tmp_path), "--faces", "10"]
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "box.stl")
    assert main([str(tmp_path / "box.stl"), *options]) == 0
    truth = GroundTruth.load(tmp_path / TRUTH_FOLDER / "box_still_35.npz")
    assert np.array_equal(truth.vertices[0], truth.vertices[1])
    assert "no animation in it" in caplog.text
    write_animation_glb(tmp_path / "egg.glb", _sequence(textured=False), name="")
    with zipfile.ZipFile(tmp_path / "egg.zip", "w") as archive:
        archive.write(tmp_path / "egg.glb", "a/egg.glb")
    assert main([str(tmp_path / "egg.zip"), *options]) == 0
    assert len(GroundTruth.load(tmp_path / TRUTH_FOLDER / "egg_0_35.npz").vertices) == 2
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX Binary")
    assert main([str(tmp_path / "a.fbx"), *options]) == 1
    assert "give --blender_path" in caplog.messages[-1]
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    assert main([str(tmp_path / "a.rar"), *options]) == 1
    assert "an archive" in caplog.messages[-1]


def test_a_lens_of_ones_own(asset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--frames", "2", "--size", "64", "--fov", "20", "--output", str(tmp_path), "--name", "case"]
    assert main([str(asset), *options]) == 0
    truth = _truth(tmp_path)
    assert float(truth.fov) == pytest.approx(np.radians(20))
    camera = truth.orbit().camera(float(truth.fov))
    seen = render_mesh(truth.sequence()[1], camera, 64, channels=("mask",)).mask[0, ..., 0].numpy() > 0.5
    alpha = _pictures(tmp_path)[1][..., 3] > 127
    assert (seen & alpha).sum() / (seen | alpha).sum() > 0.98
    columns, rows = (np.flatnonzero(_pictures(tmp_path)[..., 3].max(0).max(axis) > 127) for axis in (0, 1))
    assert max(np.ptp(columns), np.ptp(rows)) / 64 == pytest.approx(0.8, abs=0.05)
    assert main([str(asset), "--output", str(tmp_path), "--fov", "3"]) == 2
    assert "--fov 3" in caplog.messages[-1]


def test_no_camera_within_the_object_passes_for_one_that_sees_it() -> None:
    poses = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 0.2, 1.0]]])
    with pytest.raises(ValueError, match="--fov 120: no camera with this lens"):
        check_visible(poses, Orbit.of(radius=0.5).camera(np.radians(120)))


def test_no_exposure_changes_nothing_and_white_stays_white() -> None:
    mesh = _sequence(textured=True).mesh
    assert torch.equal(brightened(mesh, 0).texture, mesh.texture)
    assert brightened(mesh, 99).texture.unique().tolist() == pytest.approx([0, 1])


def test_subdividing_moves_no_point_of_the_surface() -> None:
    sequence = _sequence(textured=True)
    fine = subdivide(sequence, 4 * len(sequence.mesh.faces))
    assert len(fine.mesh.faces) == 4 * len(sequence.mesh.faces)
    assert subdivide(sequence, 10) is sequence
    for index in range(3):
        coarse, cut = (
            trimesh.Trimesh(item[index].vertices.double().numpy(), item.mesh.faces.numpy(), process=False)
            for item in (sequence, fine)
        )
        assert cut.is_watertight
        assert cut.area == pytest.approx(coarse.area, rel=1e-6)
        assert cut.volume == pytest.approx(coarse.volume, rel=1e-6)
    # Each face's four pieces show what it showed.
    sums = fine.mesh.uvs[fine.mesh.uv_faces].mean(1).reshape(-1, 4, 2)
    expected = sequence.mesh.uvs[sequence.mesh.uv_faces].mean(1)
    assert torch.allclose(sums, expected[:, None].expand_as(sums))


def test_bad_usage_and_unreadable_assets(asset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert _make(tmp_path, tmp_path / "missing.glb") == 2
    assert _make(tmp_path, asset, "--frames", "0") == 2
    assert _make(tmp_path, asset, "--clip", "fly") == 1
    assert "no clip 'fly'; its clips: slide" in caplog.text
    broken = tmp_path / "broken.glb"
    broken.write_bytes(asset.read_bytes()[:1000])
    assert _make(tmp_path, broken) == 1
    assert "broken.glb" in caplog.messages[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"broken.glb"}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")
def test_a_case_from_the_real_fox(tmp_path: Path) -> None:
    options = ["--clip", "Survey", "--frames", "2", "--size", "64", "--yaw", "80", "--output", str(tmp_path)]
    assert main([str(DATA / "Fox.glb"), *options]) == 0
    truth = GroundTruth.load(tmp_path / TRUTH_FOLDER / "fox_survey_80.npz")
    assert len(truth.faces) == 576 * 4**3
    picture = iio.imread(tmp_path / "fox_survey_80" / "0001.png")
    orange = picture[picture[..., 3] > 200][:, :3].mean(0)
    assert orange[0] > 1.3 * orange[1] > 2 * orange[2]
