"""Blender's pictures of a result against those of our own renderer."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

import rendering_video
from rendering_video import IMAGES, MASKS, VIDEO
from tests.v2m4.io.blender_here import BLENDER, needs_blender
from tests.v2m4.test_export_formats import DATA, FRAMES, poses_in_camera, result
from v2m4.camera import Orbit
from v2m4.export import export_animation
from v2m4.export_user_mesh import export_user_mesh
from v2m4.io import blender_render
from v2m4.io.blender_render import BlenderRenderer, blender_renderer, on_white
from v2m4.io.user_mesh import open_user_mesh
from v2m4.io.video import read_video
from v2m4.mesh import Mesh, MeshSequence
from v2m4.workspace import Workspace

SIZE = 160
CLOSE = 0.97


def run(folder: Path, *more: str) -> int:
    return rendering_video.main(["--result_path", str(folder), "--size", str(SIZE), "--device", "cpu", *more])


def compare(folder: Path, engine: str = "workbench") -> tuple[float, float]:
    """The least IoU of the two renderers' masks, and the mean difference of colours where both are opaque."""
    assert run(folder) == 0
    assert run(folder, "--renderer", "blender", "--blender_path", str(BLENDER), "--engine", engine) == 0
    least, differences = 1.0, []
    names = sorted(file.name for file in (folder / MASKS).glob("*.png"))
    for name in names:
        ours, theirs = (iio.imread(folder / f"{MASKS}{suffix}" / name) for suffix in ("", "_blender"))
        least = min(least, ((ours > 127) & (theirs > 127)).sum() / ((ours > 127) | (theirs > 127)).sum())
        pictures = [iio.imread(folder / f"{IMAGES}{suffix}" / name).astype(float) for suffix in ("", "_blender")]
        differences.append(np.abs(pictures[0] - pictures[1])[(ours == 255) & (theirs == 255)].mean())
    assert sorted(file.name for file in (folder / f"{IMAGES}_blender").glob("*.png")) == names
    return float(least), float(np.mean(differences))


@needs_blender
@pytest.mark.slow
def test_the_silhouettes_and_colours_agree(tmp_path: Path) -> None:
    result(tmp_path)
    iou, difference = compare(tmp_path)
    assert iou > CLOSE and difference < 6
    video = list(iio.imiter(tmp_path / f"{VIDEO}_blender.mp4", plugin="pyav"))
    assert len(video) == FRAMES and video[0].shape == (SIZE, SIZE, 3)
    picture = iio.imread(tmp_path / f"{IMAGES}_blender" / "00.png")
    assert (picture[0, 0] == 255).all() and picture.shape == (SIZE, SIZE, 3)
    with pytest.raises(FileNotFoundError):
        BlenderRenderer(tmp_path / "nowhere", "workbench", SIZE).render(tmp_path, IMAGES, MASKS, VIDEO)
    assert (iio.imread(tmp_path / f"{IMAGES}_blender" / "00.png") == picture).all()


@needs_blender
@pytest.mark.slow
def test_cycles_agrees_on_the_silhouette(tmp_path: Path) -> None:
    small = result(tmp_path, frames=2)
    assert small.path("cameras.json").is_file()
    iou, difference = compare(tmp_path, "cycles")
    assert iou > CLOSE and difference < 60  # its colours are lit


@needs_blender
@pytest.mark.slow
def test_a_wide_picture_with_vertex_colours_at_uneven_times(tmp_path: Path) -> None:
    shape = trimesh.creation.icosphere(3, 0.3)
    mesh = Mesh(
        torch.tensor(shape.vertices, dtype=torch.float32),
        torch.tensor(shape.faces),
        colors=torch.tensor([0.8, 0.4, 0.1]).expand(len(shape.vertices), 3).contiguous(),
    )
    offsets = torch.tensor([[-0.5, 0.1, 2.0], [0.0, 0.0, 2.0], [0.5, -0.1, 2.4]])
    sequence = MeshSequence(mesh.vertices + offsets[:, None], mesh, np.arange(3, dtype=np.float64))
    extrinsics = Orbit.of(yaw=0.4, pitch=0.2).camera().extrinsics[0]
    seconds = np.array([0.0, 0.13, 0.5])
    options = {"fov": 0.6, "aspect": 1.6, "fps": 6.3, "seconds": seconds}
    export_animation(Workspace(tmp_path), sequence, ["a", "b", "c"], range(3), extrinsics, **options)
    iou, difference = compare(tmp_path)
    assert iou > CLOSE and difference < 3
    times = read_video(tmp_path / f"{VIDEO}_blender.mp4", 0, 30.0).times
    assert np.allclose(times, seconds, atol=2e-3)


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("origin", [0.0, 4e4])
def test_a_user_mesh_of_many_parts_and_far_from_its_origin(tmp_path: Path, origin: float) -> None:
    source = DATA / "RobotExpressive.glb"
    if not source.is_file():
        pytest.skip(f"no RobotExpressive.glb at {DATA}")
    user_mesh = open_user_mesh(source)
    if origin:
        moved = trimesh.creation.icosphere(3, 0.5)
        moved.apply_translation([origin, -origin, origin])
        moved.export(tmp_path / "far.ply")
        user_mesh = open_user_mesh(tmp_path / "far.ply")
    sequence, to_camera = poses_in_camera(user_mesh)
    export_user_mesh(Workspace(tmp_path), user_mesh, sequence, ["a", "b"], to_camera, fov=0.7, aspect=1.0, fps=10.0)
    iou, _ = compare(tmp_path)
    assert iou > CLOSE


def test_pictures_are_composed_over_white() -> None:
    picture = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 51]]], np.uint8)
    assert on_white(picture).tolist() == [[[10, 20, 30], [255, 255, 255], [224, 204, 255]]]


def test_bad_usage_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blender_render, "find_blender", lambda: None)
    with pytest.raises(FileNotFoundError, match=r"--renderer blender: no Blender found.*blender install"):
        blender_renderer(None, "workbench", SIZE)
    for more, said in (
        ([], "no Blender found"),
        (["--blender_path", str(tmp_path)], "no Blender executable in this folder"),
        (["--normal"], "leave --normal"),
        (["--interpolate", "2"], "--interpolate"),
    ):
        assert run(tmp_path, "--renderer", "blender", *more) == 2
        assert said in caplog.messages[-1]
