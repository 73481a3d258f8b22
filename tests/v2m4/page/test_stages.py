"""Pictures of the stages: their own, else rendered from their meshes."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np

from tests.v2m4.page.results import ball, make_result
from v2m4.io.gltf import write_glb
from v2m4.page.run import Run
from v2m4.page.stages import stage_pictures


def test_pictures_on_disk_go_before_rendered_meshes(tmp_path: Path) -> None:
    folder = tmp_path / "ball"
    make_result(folder, 2)
    for name in ("re-canonicalization", "consistency"):
        write_glb(folder / f"000_{name}_sample.glb", ball())
    (folder / "3_registration").mkdir()
    iio.imwrite(folder / "3_registration/000_check.png", np.full((8, 32, 3), 7, np.uint8))
    found = {item.title: item.pixels for item in stage_pictures(Run.read(folder))}
    assert list(found) == ["Input", "Camera", "Registration", "Texture"]
    assert (found["Registration"] == 7).all()
    height, width = found["Camera"].shape[:2]
    assert width == 2 * round(height * 4 / 3)  # colours and normals
    assert (found["Camera"] < 200).any()
    assert (found["Camera"][0] == 255).all()


def test_a_user_mesh_is_shown_in_its_rest_pose(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 2, config={"mesh": "robot.obj"})
    found = [item.title for item in stage_pictures(Run.read(tmp_path / "ball"))]
    assert found == ["Input", "User mesh"]


def test_without_files_there_are_no_pictures(tmp_path: Path) -> None:
    make_result(tmp_path / "ball", 2)
    for file in [*(tmp_path / "ball").glob("*_sample.glb"), *(tmp_path / "ball").glob("*.png")]:
        file.unlink()
    assert stage_pictures(Run.read(tmp_path / "ball")) == []
