import json
import struct
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from evaluation.input_cases import CaseError, ExpectedAnimation, InputCase, read_cases
from evaluation.input_checks import check_animation, check_glb
from evaluation.input_glb import Glb
from evaluation.inputs import SUITE, InputsOptions, main, run_case
from v2m4.camera import Camera
from v2m4.io.gltf import write_animation_glb
from v2m4.mesh import Mesh, MeshSequence


@pytest.fixture(params=[False, True], ids=["floats", "quantized"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """One animation's folder: a red ball that moves by its radius in three frames, and its pictures."""
    ball = trimesh.creation.icosphere(2)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    red = torch.tensor([1.0, 0.0, 0.0]).expand(len(vertices), 3)
    mesh = Mesh(vertices, torch.tensor(np.array(ball.faces)), colors=red)
    poses = torch.stack([vertices + torch.tensor([each, 0.0, 0.0]) for each in (0.0, 0.5, 1.0)])
    sequence = MeshSequence(poses, mesh, np.array([0.0, 0.1, 0.4]))
    result = tmp_path / "ball"
    result.mkdir()
    write_animation_glb(result / "output_animation.glb", sequence, Camera.identity(), quantize=request.param)
    for index in range(3):
        iio.imwrite(result / f"{index}_rmbg.png", _disc(20 + 2 * index))
    return result


def _disc(column: int) -> np.ndarray:
    picture = np.zeros((64, 64, 4), np.uint8)
    y, x = np.mgrid[:64, :64]
    picture[(x - column) ** 2 + (y - 30) ** 2 < 200] = (255, 0, 0, 255)
    return picture


def _failures(folder: Path, **expected: object) -> list[str]:
    return list(check_animation(folder, ExpectedAnimation(**expected), folder.parent))  # type: ignore[arg-type]


def test_a_right_result_has_no_failures(folder: Path):
    truth = folder.parent / "true"
    truth.mkdir()
    iio.imwrite(truth / "0.png", _disc(33))
    assert (
        _failures(
            folder,
            frames=3,
            times=[0, 0.1, 0.4],
            albedo=[1, 0, 0],
            textured=False,
            moves=0.4,
            size=2,
            middle=[0, 0, 0],
            area=float(trimesh.creation.icosphere(2).area),
            like="true",
        )
        == []
    )


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ({"frames": 4}, "3 frames"),
        ({"times": [0, 0.2, 0.4]}, "key times"),
        ({"albedo": [1, 1, 1]}, "mean base colour"),
        ({"textured": True}, "no base colour texture"),
        ({"area": 1.0}, "surface area"),
        ({"size": 1.0}, "size"),
        ({"middle": [5, 0, 0]}, "middle"),
        ({"moves": 2.0}, "moves by"),
        ({"extensions": ["VRM"]}, "VRM is gone"),
        ({"overlap": 0.5}, "overlap"),
    ],
)
def test_each_check_can_fail(folder: Path, expected: dict, says: str):
    failures = _failures(folder, **expected)
    assert len(failures) == 1
    assert says in failures[0]


def test_other_pictures_are_told_apart(folder: Path):
    truth = folder.parent / "square"
    truth.mkdir()
    square = np.zeros((64, 64, 4), np.uint8)
    square[10:20, 10:50] = (255, 0, 0, 255)
    square[40:50, 10:50] = (255, 0, 0, 255)
    iio.imwrite(truth / "0.png", square)
    assert "mask IoU" in _failures(folder, like="square")[0]
    iio.imwrite(truth / "0.png", np.where(_disc(20)[..., 3:] > 0, np.uint8([0, 255, 0, 255]), 0).astype(np.uint8))
    assert "mean colour" in _failures(folder, like="square")[0]


def test_numbers_that_are_not_finite_are_found(folder: Path):
    path = folder / "output_animation.glb"
    glb, data = Glb.read(path), bytearray(path.read_bytes())
    accessor = glb.json["accessors"][glb.json["animations"][0]["samplers"][0]["input"]]
    view = glb.json["bufferViews"][accessor["bufferView"]]
    start = len(data) - len(glb.data) + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    data[start : start + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    assert any("not finite" in failure for failure in check_glb(path))


def test_mean_albedo_of_a_texture_and_a_factor(tmp_path: Path):
    from PIL import Image

    quad = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    picture = Image.fromarray(np.full((4, 4, 3), 188, np.uint8))  # 0.5 linear
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, baseColorFactor=[255, 255, 0, 255])
    quad.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    path = tmp_path / "quad.glb"
    trimesh.Scene(quad).export(path)
    np.testing.assert_allclose(Glb.read(path).mean_albedo(), [188 / 255, 188 / 255, 0], atol=0.01)


def test_a_run_is_judged_by_its_exit_code_and_output(tmp_path: Path):
    options = InputsOptions(cases=tmp_path, output=tmp_path / "out")
    say = ["{python}", "-c", "import sys; print('W file.obj: no texture'); sys.exit(1)"]
    assert run_case(InputCase("right", run=say, exit=1, says=["no texture"]), options).failures == []
    wrong = run_case(InputCase("wrong", run=say, says=["no mesh"], writes=["x.glb"]), options)
    assert len(wrong.failures) == 3
    assert wrong.message == "W file.obj: no texture"
    inside = ["{python}", "-c", "print('E robot: IndexError: list index')"]
    assert "inside error" in run_case(InputCase("inside", run=inside), options).failures[0]


def test_the_table_and_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    suite = tmp_path / "cases.yaml"
    rows = [{"name": "good", "run": ["{python}", "-c", ""]}, {"name": "bad", "run": ["{python}", "-c", "exit(3)"]}]
    suite.write_text(json.dumps(rows))
    arguments = [str(tmp_path), "--output", str(tmp_path / "out"), "--suite", str(suite)]
    assert main(arguments) == 1
    assert "1 of 2 as expected" in capsys.readouterr().out
    assert main([*arguments, "--only", "good"]) == 0
    assert main([*arguments, "--only", "none"]) == 2


def test_a_missing_validator_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    suite = tmp_path / "cases.yaml"
    suite.write_text(json.dumps([{"name": "good", "run": ["{python}", "-c", ""]}]))
    monkeypatch.setattr("evaluation.gltf_validator.FOLDER", tmp_path / "none")
    assert main([str(tmp_path), "--output", str(tmp_path / "out"), "--suite", str(suite)]) == 0
    assert "GLBs are not validated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{a: 1}", "expected a list"),
        ("- 3", "expected a table"),
        ("- {name: a, video: b, color: red}", "unknown key 'color'"),
        ("- {name: a}", "one of video, root and run"),
        ("- {name: a, video: b, animations: {c: {frame: 1}}}", "unknown key 'frame'"),
        ("- {name: a, video: b}\n- {name: a, video: b}", "several cases"),
        ("[", "not valid YAML"),
    ],
)
def test_a_wrong_file_of_cases_is_refused(tmp_path: Path, text: str, says: str):
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    with pytest.raises(CaseError, match=says):
        read_cases(path)


def test_the_suite_is_valid():
    assert len(read_cases(SUITE)) > 40
