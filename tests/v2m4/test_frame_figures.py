"""PSNR and IoU of an animation's frames against the pictures without background."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from v2m4.camera import Camera, Orbit
from v2m4.frame_figures import BEST_PSNR, FrameFigures, frame_figures, mask_iou, psnr
from v2m4.io.clip import PICTURE
from v2m4.mesh import Mesh
from v2m4.render import render_mesh
from v2m4.result_meshes import scale_cameras
from v2m4.stored_picture import encoded

SIDE = 64


def ball(shift: float = 0.0, scale: float = 1.0) -> Mesh:
    sphere = trimesh.creation.icosphere(3, 0.3)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32) + torch.tensor([shift, 0, 0])
    colors = torch.tensor([0.8, 0.2, 0.1]).expand(len(vertices), 3).contiguous()
    return Mesh(vertices * scale, torch.tensor(sphere.faces), colors=colors)


def write_frame(folder: Path, name: str, mesh: Mesh, camera: Camera, rows: int = SIDE) -> None:
    picture = render_mesh(mesh, camera, (rows, round(rows * camera.aspect)), channels=("color", "mask"))
    mask = picture.mask[0].clamp(0, 1)
    rgba = torch.cat([picture.color[0] / mask.clamp_min(1e-6), mask], -1).clamp(0, 1)
    (folder / PICTURE.format(name)).write_bytes(encoded((255 * rgba).round().to(torch.uint8).numpy()))


@pytest.mark.parametrize("aspect", [1.0, 1.5, 0.5])
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_the_mesh_of_the_picture_scores_best_and_another_less(tmp_path: Path, aspect: float, unit: float) -> None:
    camera = Orbit.of(yaw=0.3, pitch=0.2).camera(aspect=aspect)
    rows = round(SIDE / max(aspect, 1.0))
    for name in ("a", "b"):
        write_frame(tmp_path, name, ball(), camera, rows)
    meshes = [ball(scale=unit), ball(0.1, scale=unit)]
    found = frame_figures(tmp_path, ["a", "b"], meshes, scale_cameras(camera, unit), size=SIDE)
    assert found.psnr.shape == found.iou.shape == (2,)
    assert found.psnr[0] > 45 and found.iou[0] == pytest.approx(1.0, abs=0.01)
    assert found.psnr[1] < 30
    # Two discs of radius r whose centres are r / 3 apart (the ball's shift, foreshortened a little).
    assert 0.6 < found.iou[1] < 0.85


def test_every_frame_has_its_own_camera(tmp_path: Path) -> None:
    cameras = Orbit(torch.tensor([0.0, 0.5]), torch.zeros(2), torch.full((2,), 2.0), torch.zeros(2, 3)).camera()
    for index in range(2):
        write_frame(tmp_path, str(index), ball(0.2), cameras[index])
    assert frame_figures(tmp_path, ["0", "1"], [ball(0.2)] * 2, cameras, SIDE).iou.min() > 0.98
    assert frame_figures(tmp_path, ["0", "1"], [ball(0.2)] * 2, cameras[0], SIDE).iou[1] < 0.95
    with pytest.raises(ValueError, match="2 cameras for 1 frames"):
        frame_figures(tmp_path, ["0"], [ball()], cameras)
    with pytest.raises(ValueError, match="zip"):
        frame_figures(tmp_path, ["0", "1"], [ball()], cameras)


def test_a_frame_without_a_picture_has_no_figure_and_does_not_count(tmp_path: Path) -> None:
    camera = Orbit.of().camera()
    write_frame(tmp_path, "0", ball(), camera)
    found = frame_figures(tmp_path, ["0", "0.5"], [ball()] * 2, camera, SIDE)
    assert np.isnan(found.psnr[1]) and np.isnan(found.iou[1])
    assert (found.mean_psnr, found.mean_iou) == (found.psnr[0], found.iou[0])
    stored = json.loads(json.dumps(found.describe(["0", "0.5"]), allow_nan=False))
    assert stored["names"] == ["0", "0.5"] and stored["iou"][1] is None and stored["size"] == SIDE
    assert stored["mean_psnr"] == pytest.approx(found.psnr[0], abs=1e-4)


def test_without_any_figure_the_means_are_none() -> None:
    nothing = FrameFigures(np.full(2, np.nan), np.full(2, np.nan))
    assert nothing.describe(["0", "1"])["mean_iou"] is None


def test_psnr_and_iou_of_known_pictures() -> None:
    white, grey = np.ones((1, 4, 4, 3)), np.full((1, 4, 4, 3), 0.9)
    assert psnr(white, grey)[0] == pytest.approx(20.0)
    assert psnr(white, white)[0] == BEST_PSNR
    left, middle = np.zeros((1, 2, 4), bool), np.zeros((1, 2, 4), bool)
    left[..., :2] = middle[..., 1:3] = True
    assert mask_iou(left, middle)[0] == pytest.approx(1 / 3)
    assert mask_iou(left & False, middle & False)[0] == 1.0
