"""The rendering command on animations written by the exporter."""

import json
import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

import rendering_video
from rendering_video import IMAGES, MASKS, VIDEO, find_results, main, render_frame
from v2m4 import result_meshes
from v2m4.camera import DEFAULT_FOV, Camera, Orbit
from v2m4.export import export_animation
from v2m4.io.gltf import write_glb
from v2m4.io.video import read_video
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import Workspace

SIZE = 64


def ball(radius=0.3):
    sphere = trimesh.creation.icosphere(2, radius)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    colors = torch.tensor([0.8, 0.2, 0.1]).expand(len(vertices), 3).contiguous()
    return Mesh(vertices, torch.tensor(sphere.faces), colors=colors)


def make_result(folder, frames=3, aspect=1.0, fov=DEFAULT_FOV, seconds=None):
    """A ball that moves to the right, in camera space, two units away."""
    mesh = ball()
    offsets = torch.tensor([[-0.2 + 0.2 * index, 0.0, 2.0] for index in range(frames)])
    sequence = MeshSequence(mesh.vertices + offsets[:, None], mesh, np.arange(frames, dtype=np.float64))
    extrinsics = Orbit.of(yaw=0.4, pitch=0.2).camera().extrinsics[0]
    names = [str(index) for index in range(frames)]
    options = {"fov": fov, "aspect": aspect, "fps": 10.0, "seconds": seconds}
    export_animation(Workspace(folder), sequence, names, range(frames), extrinsics, **options)
    return offsets


def run(path, *more):
    return main(["--result_path", str(path), "--size", str(SIZE), "--device", "cpu", *more])


def frames_of(path):
    return [frame.astype(int) for frame in iio.imiter(path, plugin="pyav")]


@pytest.mark.parametrize("fov", [DEFAULT_FOV, 0.55, 1.2])
def test_pictures_show_the_mesh_where_the_video_camera_sees_it(tmp_path, fov):
    offsets = make_result(tmp_path / "ball", fov=fov)
    assert run(tmp_path) == 0
    focal = SIZE / 2 / math.tan(fov / 2)
    for index, offset in enumerate(offsets.tolist()):
        picture = iio.imread(tmp_path / "ball" / IMAGES / f"{index}.png")
        mask = iio.imread(tmp_path / "ball" / MASKS / f"{index}.png") / 255
        assert picture.shape == (SIZE, SIZE, 3)
        assert (picture[0, 0] == 255).all()
        centre = (mask * (np.arange(SIZE) + 0.5)).sum() / mask.sum()
        assert centre == pytest.approx(SIZE / 2 + focal * offset[0] / 2, abs=0.7)  # perspective moves it a little
        area = math.pi * (focal * 0.3) ** 2 / (4 - 0.09)
        assert mask.sum() == pytest.approx(area, rel=0.06)
    assert len(frames_of(tmp_path / "ball" / f"{VIDEO}.mp4")) == 3
    assert iio.immeta(tmp_path / "ball" / f"{VIDEO}.mp4", plugin="pyav")["fps"] == 10


def test_an_animation_without_meshes_of_its_frames_gives_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(result_meshes, "FRAMES_IN_MEMORY", 2)
    make_result(tmp_path / "ball", frames=5)
    assert run(tmp_path) == 0
    pictures = [iio.imread(tmp_path / "ball" / IMAGES / f"{index}.png").astype(int) for index in range(5)]
    for file in (tmp_path / "ball").glob("*_texture_consistency_sample.glb"):
        file.unlink()
    assert run(tmp_path) == 0
    for index, picture in enumerate(pictures):
        again = iio.imread(tmp_path / "ball" / IMAGES / f"{index}.png")
        assert np.abs(again - picture).mean() < 0.05
        assert (picture < 250).any()


def test_a_variable_rate_is_shown_at_its_pace(tmp_path):
    """Without its frames' own meshes the animation is read at the frames' times."""
    seconds = np.array([0.5, 0.6, 1.2, 1.3])
    make_result(tmp_path / "ball", frames=4, seconds=seconds)
    for file in (tmp_path / "ball").glob("*_texture_consistency_sample.glb"):
        file.unlink()
    assert run(tmp_path, "--interpolate", "2") == 0
    written = read_video(tmp_path / "ball" / f"{VIDEO}.mp4", 0, 30.0)
    np.testing.assert_allclose(written.times, seconds - 0.5, atol=1e-3)
    finer = read_video(tmp_path / "ball" / f"{VIDEO}_interpolated_2.mp4", 0, 30.0)
    np.testing.assert_allclose(finer.times, [0, 0.05, 0.1, 0.4, 0.7, 0.75, 0.8], atol=1e-3)
    dark = [255 - image.min(2).astype(int) for image in written.images]
    steps = np.diff([(each * np.arange(SIZE)).sum() / each.sum() for each in dark])
    assert steps.min() > 0.7 * steps.max() > 0  # one step a frame, however long it lasts


def test_a_mesh_in_millimetres_is_seen_as_one_in_metres(tmp_path):
    mesh = ball().transformed(torch.diag(torch.tensor([1000.0, 1000.0, 1000.0, 1.0])))
    camera = Orbit.of(radius=2000.0).camera()
    scale = rendering_video.unit_distance_scale(mesh, camera)
    assert scale == 2.0**-10
    far = render_frame(
        mesh.with_vertices(mesh.vertices * scale), rendering_video.scale_cameras(camera, scale), SIZE, False
    )
    near = render_frame(ball(), Orbit.of(radius=2.0).camera(), SIZE, False)
    assert np.abs(far.mask.astype(int) - near.mask).max() <= 2
    assert near.mask.max() == 255


def test_interpolated_video_has_frames_between_at_the_same_pace(tmp_path):
    make_result(tmp_path / "ball")
    assert run(tmp_path / "ball", "--interpolate", "4") == 0
    coarse = frames_of(tmp_path / "ball" / f"{VIDEO}.mp4")
    file = tmp_path / "ball" / f"{VIDEO}_interpolated_4.mp4"
    fine = frames_of(file)
    assert len(fine) == 4 * 2 + 1
    assert iio.immeta(file, plugin="pyav")["fps"] == 40
    for index, frame in enumerate(coarse):
        assert np.abs(fine[4 * index] - frame).mean() < 3
    centres = [((255 - frame.min(2)) * np.arange(SIZE)).sum() / (255 - frame.min(2)).sum() for frame in fine]
    steps = np.diff(centres)
    assert (steps > 0).all()
    assert steps.max() < 1.5 * steps.min()


def test_normals_face_the_camera(tmp_path):
    make_result(tmp_path / "ball")
    assert run(tmp_path, "--normal") == 0
    middle = frames_of(tmp_path / "ball" / f"{VIDEO}_normal.mp4")[1]
    assert np.abs(middle[SIZE // 2, SIZE // 2] - [128, 128, 255]).max() < 25
    assert middle[SIZE // 2, SIZE // 2 + 12, 0] - middle[SIZE // 2, SIZE // 2 - 12, 0] > 80  # red: to the right
    assert middle[SIZE // 2 - 12, SIZE // 2, 1] - middle[SIZE // 2 + 12, SIZE // 2, 1] > 80  # green: up


def test_the_pickle_is_never_read(tmp_path):
    make_result(tmp_path / "ball")
    (tmp_path / "ball" / "extrinsics_list.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert run(tmp_path) == 0


def test_pictures_of_removed_frames_are_deleted(tmp_path):
    make_result(tmp_path / "ball", frames=3)
    assert run(tmp_path) == 0
    make_result(tmp_path / "ball", frames=2)
    assert run(tmp_path) == 0
    assert sorted(file.name for file in (tmp_path / "ball" / IMAGES).iterdir()) == ["0.png", "1.png"]


def test_rendering_twice_gives_the_same_pictures(tmp_path):
    # The videos are for looking at: the encoder's threads may cut them differently on a busy machine.
    make_result(tmp_path / "ball")
    assert run(tmp_path) == 0
    first = {file: file.read_bytes() for file in (tmp_path / "ball" / IMAGES).iterdir()}
    assert len(first) == 3
    assert run(tmp_path) == 0
    assert all(file.read_bytes() == data for file, data in first.items())


@pytest.mark.parametrize(("aspect", "shape"), [(2.0, (32, 64)), (0.5, (64, 32)), (1.0, (64, 64))])
def test_the_longer_side_has_the_size(aspect, shape):
    shot = render_frame(ball(), Orbit.of().camera(aspect=aspect), SIZE, False)
    assert shot.mask.shape == shape
    rows, columns = shot.mask.max(1), shot.mask.max(0)
    assert abs(int((rows > 127).sum()) - int((columns > 127).sum())) <= 1  # square pixels: the ball is round


def test_supersampling_covers_pixels_by_their_area():
    """Coverage sums to the disc's area far below a pixel's error."""
    camera = Camera.identity()
    mesh = ball().with_vertices(ball().vertices + torch.tensor([0.013, 0.007, 2.0]))
    small, large = (render_frame(mesh, camera, size, False).mask.sum() / 255 / size**2 for size in (64, 256))
    assert small == pytest.approx(large, rel=0.01)


def test_baseline_alone_and_with_the_final_animation(tmp_path):
    folder = tmp_path / "ball"
    folder.mkdir()
    for index in (9, 10):
        write_glb(folder / f"{index}_baseline_sample.glb", ball(0.1 if index == 9 else 0.3))
    (folder / "manifest.json").write_text(json.dumps({"fps": 12.0}))
    assert run(tmp_path) == 1
    assert run(tmp_path, "--baseline") == 0
    file = folder / f"{VIDEO}_baseline.mp4"
    first, second = frames_of(file)
    assert (first < 200).sum() < (second < 200).sum()  # 9 comes before 10
    assert iio.immeta(file, plugin="pyav")["fps"] == 12
    assert not (folder / IMAGES).exists()


def test_a_broken_animation_does_not_stop_the_others(tmp_path, capsys):
    make_result(tmp_path / "a")
    make_result(tmp_path / "b")
    (tmp_path / "a" / "1_texture_consistency_sample.glb").write_bytes(b"glTF")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cameras.json").write_text("{}")
    assert run(tmp_path) == 1
    assert (tmp_path / "b" / f"{VIDEO}.mp4").exists()
    table = capsys.readouterr().out
    assert "1_texture_consistency_sample.glb" in table
    assert "not a cameras.json" in table


def test_a_missing_mesh_is_named(tmp_path):
    make_result(tmp_path / "ball")
    (tmp_path / "ball" / "2_texture_consistency_sample.glb").unlink()
    with rendering_video.tqdm(total=0, disable=True) as progress:
        outcome = rendering_video.render(tmp_path / "ball", rendering_video.RenderingOptions(size=32), "cpu", progress)
    assert "2_texture_consistency_sample.glb: missing" in outcome.error


@pytest.mark.parametrize("more", [("--interpolate", "0"), ("--size", "2")])
def test_an_option_out_of_range_exits_with_2(tmp_path, more):
    make_result(tmp_path / "ball")
    assert main(["--result_path", str(tmp_path), *more]) == 2


def test_a_folder_without_results_exits_with_2_and_names_the_remedy(tmp_path):
    assert run(tmp_path / "missing") == 2
    assert run(tmp_path) == 2
    with pytest.raises(FileNotFoundError, match=r"run main\.py first"):
        find_results(tmp_path)
