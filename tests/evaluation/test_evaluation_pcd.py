"""The command: figures on the screen and on disk, exit codes and messages."""

import json
from pathlib import Path
from xml.etree import ElementTree

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from evaluation import geometry_metrics
from evaluation.evaluation_pcd import main
from tests.evaluation.shapes import figure
from v2m4.ground_truth import GroundTruth
from v2m4.io.gltf import write_animation_glb
from v2m4.mesh import Mesh, MeshSequence

QUICK = ("--num_samples", "500")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_metrics.motion80, "__defaults__", (50_000, 0, None, 500))


def motion(shift: float = 0.0) -> MeshSequence:
    frames = [figure(turn) for turn in (0.0, 20.0, 40.0)]
    poses = torch.stack([frame.vertices for frame in frames]) + torch.arange(3)[:, None, None] * shift
    return MeshSequence(poses, Mesh(poses[0], frames[0].faces), np.arange(3) / 10)


def write_truth(path: Path) -> Path:
    sequence = motion()
    faces, colors = sequence.mesh.faces.numpy(), np.ones((16, 3))
    GroundTruth.of(sequence.vertices.numpy(), faces, colors, torch.zeros(6), 0.7, 10.0).save(path)
    return path


def write_prediction(path: Path, shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_animation_glb(path, motion(shift))
    return path


def test_one_pair_with_pictures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    truth, prediction = write_truth(tmp_path / "a.npz"), write_prediction(tmp_path / "out" / "b.glb", 0.1)
    output = tmp_path / "figures" / "metrics.json"
    arguments = ["--gt_path", str(truth), "--pred_path", str(prediction), *QUICK, "--viz", "--output", str(output)]
    assert main(arguments) == 0
    assert "CD (code)" in capsys.readouterr().out
    stored = json.loads(output.read_text())
    entry = stored["animations"]["b"]
    assert entry["frames"] == 3
    assert entry["motion80_cd"] == pytest.approx(np.mean(entry["per_frame"]["motion80_cd"]))
    assert entry["per_frame"]["motion80_cd"][2] > 1.5 * entry["per_frame"]["motion80_cd"][0]
    assert entry["per_frame"]["voxel_iou"][2] < entry["per_frame"]["voxel_iou"][0]
    assert stored["protocol"]["num_samples"] == 500
    pictures = output.parent / "geometry" / "b"
    assert sorted(file.name for file in pictures.iterdir()) == [
        "curves.svg", "frame_0000.png", "frame_0001.png", "frame_0002.png", "overview.png"
    ]  # fmt: skip
    chart = ElementTree.fromstring((pictures / "curves.svg").read_text("utf-8"))
    assert len(list(chart.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    picture = iio.imread(pictures / "frame_0002.png")
    assert picture.shape == (512, 1024, 3)
    assert 0.02 < (picture.min(2) < 200).mean() < 0.6  # something is drawn on white


def test_same_command_same_bytes(tmp_path: Path) -> None:
    truth, prediction = write_truth(tmp_path / "a.npz"), write_prediction(tmp_path / "b.glb")
    outputs = [tmp_path / name for name in ("one.json", "two.json")]
    for output in outputs:
        arguments = ["--gt_path", str(truth), "--pred_path", str(prediction), *QUICK, "--output", str(output)]
        assert main([*arguments, "--protocols", "motion80", "trajectory"]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_folders_by_name_go_on_after_one_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "truth").mkdir()
    for name in ("a", "b", "c"):
        write_truth(tmp_path / "truth" / f"{name}.npz")
    for name in ("a", "b"):
        write_prediction(tmp_path / "results" / name / "output_animation.glb")
    (tmp_path / "results" / "a" / "output_animation.glb").write_bytes(b"no glTF")
    arguments = ["--gt_path", str(tmp_path / "truth"), "--pred_path", str(tmp_path / "results"), *QUICK]
    assert main([*arguments, "--protocols", "motion80"]) == 1
    stored = json.loads((tmp_path / "results" / "evaluation_pcd.json").read_text())
    assert "output_animation.glb" in stored["animations"]["a"]["error"]
    assert stored["animations"]["b"]["motion80_cd"] == stored["mean"]["motion80_cd"]
    assert "no prediction of this name" in stored["animations"]["c"]["error"]
    assert "no prediction of this name" in capsys.readouterr().out


def test_actionbench_by_name(tmp_path: Path) -> None:
    truth, prediction = write_truth(tmp_path / "a.npz"), write_prediction(tmp_path / "b.glb")
    arguments = ["--gt_path", str(truth), "--pred_path", str(prediction), *QUICK, "--icp_points", "50"]
    assert main([*arguments, "--protocols", "actionbench"]) == 0
    entry = json.loads((tmp_path / "evaluation_pcd.json").read_text())["animations"]["b"]
    assert {"actionbench_cd_3d", "actionbench_cd_4d", "actionbench_cd_m"} < set(entry)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--protocols", "motion81"], "motion81: choose from motion80"),
        (["--num_samples", "0"], "must be at least 1"),
        (["--seed", "-1"], "must be at least 0"),
        (["--viz", "--protocols", "trajectory"], "name motion80"),
        (["--blender_path", "/nowhere"], "no such file or folder"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, extra: list[str], message: str
) -> None:
    truth = write_truth(tmp_path / "a.npz")
    assert main(["--gt_path", str(truth), "--pred_path", str(truth), *extra]) == 2
    assert message in caplog.text


def test_paths_that_hold_nothing_are_bad_usage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = write_truth(tmp_path / "a.npz")
    assert main(["--gt_path", str(truth), "--pred_path", str(tmp_path / "none")]) == 2
    assert "no such file or folder" in caplog.text
    write_prediction(tmp_path / "results" / "z" / "output_animation.glb")
    write_prediction(tmp_path / "results" / "y" / "output_animation.glb")
    assert main(["--gt_path", str(truth), "--pred_path", str(tmp_path / "results")]) == 2
    assert "no name is both" in caplog.text
