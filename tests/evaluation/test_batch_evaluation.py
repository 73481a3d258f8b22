"""Batch evaluation of a small release laid out as Motion-80; but for one slow test, a stand-in replaces main.py."""

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evaluation import alignment, batch_evaluation, execution, geometry_metrics, measurement, mesh_folder
from evaluation.mesh_folder import TEXTURE
from evaluation.processes import Processes, ProcessFailed, ResourceUsage
from evaluation.release import ReleaseError, read_release
from tests.evaluation.release_folder import EXAMPLES, make_release
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.gltf import write_animation_glb

DINO, ROBOT, JELLY = "0a46-0-Take 001-_rootJoint", "0d1e-0-Armature|Walk-_rootJoint", "9cda-0-idle-_rootJoint"
EXAMPLE_OF = {DINO: "walking_dino", ROBOT: "waving_robot", JELLY: "bouncing_jelly"}
SAFE = {DINO: DINO, ROBOT: "0d1e-0-Armature_Walk-_rootJoint", JELLY: JELLY}
FRAMES = {"walking_dino": [0, 3], "waving_robot": [2, 5], "bouncing_jelly": [4, 7, 10]}
POINTS, SAME = 3000, 0.08  # that distances are measured with, and the most that a surface is from itself


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    short, long = ({name: EXAMPLE_OF[name] for name in names} for names in ((DINO, ROBOT), (JELLY,)))
    return make_release(tmp_path_factory.mktemp("stock") / "release", short, long, FRAMES)


@pytest.fixture
def release(stock, tmp_path):
    shutil.copytree(stock, tmp_path / "release")
    return tmp_path / "release"


class StandIn:
    """Runs commands in this process; main.py hands out the truth, but nothing for the samples that are broken."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.broken: set[str] = set()

    def run(self, command: list[str], log: Path, folder: Path) -> ResourceUsage:
        self.commands.append(list(command))
        for module in (measurement, mesh_folder):
            if module.__name__ in command and module.main(command[-2:]) != 0:
                raise ProcessFailed(f"{module.__name__} failed")
        if Path(command[1]).name == "main.py":
            options = dict(zip(command[2::2], command[3::2], strict=True))
            name = Path(options["--video"]).name
            if name in self.broken:
                raise ProcessFailed("shape: the mesh | burst")
            write_result(Path(options["--output"]) / name, {SAFE[key]: EXAMPLE_OF[key] for key in SAFE}[name])
        return ResourceUsage(1.5, 100.0)

    def main_commands(self) -> list[dict[str, str]]:
        """The options of every main.py that was started."""
        started = [command for command in self.commands if Path(command[1]).name == "main.py"]
        return [dict(zip(command[2::2], command[3::2], strict=True)) for command in started]


def write_result(folder: Path, example: str) -> None:
    """Write the true animation of the sample's frames as main.py writes its result."""
    truth = GroundTruth.load(EXAMPLES / TRUTH_FOLDER / f"{example}.npz")
    sequence = truth.sequence()
    chosen = type(sequence)(sequence.vertices[FRAMES[example]], sequence.mesh, np.arange(len(FRAMES[example])) / 30)
    folder.mkdir(parents=True)
    write_animation_glb(folder / "output_animation.glb", chosen)


@pytest.fixture
def program(monkeypatch):
    """The stand-in, with fewer points than the protocols ask for, and code that nobody edits while the tests run."""
    program = StandIn()
    monkeypatch.setattr(Processes, "run", program.run)
    monkeypatch.setattr(execution, "code_version", lambda *packages: f"version 1 of {packages}")
    quick(monkeypatch)
    return program


def quick(monkeypatch) -> None:
    monkeypatch.setattr(geometry_metrics, "ICP_POINTS", 1000)
    monkeypatch.setattr(alignment, "COARSE_POINTS", 300)
    monkeypatch.setattr(alignment, "FINE_STEPS", 20)
    for name in ("motion80", "motion80_code"):
        monkeypatch.setattr(geometry_metrics, name, partial(getattr(geometry_metrics, name), num_samples=POINTS))


def run(release: Path, *more: str) -> tuple[int, dict]:
    output = release.parent / "out"
    code = batch_evaluation.main(["--release_dir", str(release), "--output", str(output), *more])
    file = output / "batch_evaluation.json"
    return code, json.loads(file.read_text("utf-8")) if file.exists() else {}


def figures(results: dict, method: str, length: str, name: str) -> dict:
    (found,) = [item for item in results[method][length]["results"] if item["case"] == SAFE[name]]
    return found


def test_both_methods_are_scored_by_both_protocols_short_and_long_apart(release, program, capsys):
    code, results = run(release, "--main_arguments", "--preset fast")
    assert code == 0
    assert results["names"] == {safe: name for name, safe in SAFE.items()}
    for method in ("given_mesh", "video_only"):
        for length, names in (("short", (DINO, ROBOT)), ("long", (JELLY,))):
            part = results[method][length]
            assert [item["case"] for item in part["results"]] == [SAFE[name] for name in names]
            for name in names:
                found = figures(results, method, length, name)
                assert found["figures"]["cd"] < SAME and found["figures"]["f_score"] > 0.4
                assert found["figures"]["code_cd"] < 1.5 * SAME and found["seconds"] == 1.5
                assert len(found["curves"]["cd"]) == len(FRAMES[EXAMPLE_OF[name]])
            for metric in ("cd", "f_score", "code_cd", "code_f_score"):
                values = [figures(results, method, length, name)["figures"][metric] for name in names]
                assert part["mean"][method][metric] == pytest.approx(np.mean(values))
    started = program.main_commands()
    assert len(started) == 6 and all(options["--preset"] == "fast" for options in started)
    assert sum("--mesh" in options for options in started) == 3
    output = release.parent / "out"
    printed, text = capsys.readouterr().out, (output / "batch_evaluation.md").read_text("utf-8")
    for method in ("given_mesh", "video_only"):
        for title in (f"{method}, short videos: 2 of 2", f"{method}, long videos: 1 of 1"):
            assert f"{title} samples measured" in printed and f"## {title} samples measured" in text
    mean = results["given_mesh"]["short"]["mean"]["given_mesh"]
    assert re.search(rf"^mean +given_mesh +{mean['cd']:.4f} +{mean['f_score']:.4f}", printed, re.MULTILINE)
    assert f"| mean | given_mesh | {mean['cd']:.4f} | {mean['f_score']:.4f} |" in text


def test_the_given_mesh_is_the_first_true_one_with_its_texture(release, program):
    code, _ = run(release, "--gt_only", "--only", ROBOT)
    assert code == 0
    (options,) = program.main_commands()
    assert Path(options["--mesh"]).is_file()
    assert len(list(Path(options["--video"]).glob("frame_*.png"))) == 2
    assert f"{release}/pcds/{ROBOT}_pointclouds" in [command[-2] for command in program.commands]


def test_a_second_run_starts_nothing_and_gives_the_same(release, program):
    chosen = ("--only", DINO)
    _, first = run(release, *chosen)
    program.commands.clear()
    code, second = run(release, *chosen)
    assert code == 0 and second == first
    assert program.commands == []
    run(release, *chosen, "--main_arguments=--seed 3")
    assert len(program.commands) == 3 + 2  # first mesh, main.py, measurement; without the mesh for video_only


def test_results_of_other_weights_are_not_reused(release, program):
    weights = release.parent / "weights {1}.pt"
    weights.write_bytes(b"one")
    chosen = ("--video_only", "--only", DINO, "--main_arguments", f"--checkpoint '{weights}'")
    run(release, *chosen)
    run(release, *chosen)
    assert len(program.main_commands()) == 1
    assert program.main_commands()[0]["--checkpoint"] == str(weights)
    weights.write_bytes(b"two")
    os.utime(weights, ns=(1, 1))
    run(release, *chosen)
    assert len(program.main_commands()) == 2


def test_one_broken_sample_never_stops_the_others(release, program, caplog):
    program.broken = {SAFE[ROBOT]}
    shutil.rmtree(release / "images" / f"{JELLY}_images")
    code, results = run(release)
    assert code == 1
    for method in ("given_mesh", "video_only"):
        found = figures(results, method, "short", ROBOT)
        assert (found["state"], found["error"]) == ("failed", "shape: the mesh | burst")
        assert figures(results, method, "long", JELLY)["state"] == "missing"
        value = figures(results, method, "short", DINO)["figures"]["cd"]
        assert results[method]["short"]["mean"][method]["cd"] == value
        assert f"{SAFE[ROBOT]}, {method}: failed: shape: the mesh | burst" in caplog.text
        assert f"{JELLY}, {method}: missing: {release}/images/{JELLY}_images/camera_0: not there" in caplog.text
    assert "1 of 2 samples measured" in (release.parent / "out" / "batch_evaluation.md").read_text("utf-8")
    program.broken = set()
    program.commands.clear()
    _, results = run(release)
    assert figures(results, "video_only", "short", ROBOT)["state"] == "done"
    assert {Path(options["--video"]).name for options in program.main_commands()} == {SAFE[ROBOT]}


def test_a_sample_without_texture_can_still_be_had_from_the_video_alone(release, program, monkeypatch):
    (release / "pcds" / f"{DINO}_pointclouds" / TEXTURE).unlink()
    code, results = run(release, "--only", DINO)
    assert code == 1
    assert figures(results, "given_mesh", "short", DINO)["state"] == "failed"
    assert figures(results, "video_only", "short", DINO)["state"] == "done"


@pytest.mark.parametrize(("option", "method"), [("--gt_only", "given_mesh"), ("--video_only", "video_only")])
def test_one_method_alone(release, program, option, method):
    code, results = run(release, option, "--only", JELLY)
    assert code == 0
    assert {"given_mesh", "video_only"} & set(results) == {method}
    assert len(program.main_commands()) == 1


def test_without_inference_only_what_is_there_is_measured(release, program):
    run(release, "--video_only", "--only", DINO)
    program.commands.clear()
    code, results = run(release, "--video_only", "--skip_inference")
    assert code == 1
    assert program.main_commands() == []
    assert figures(results, "video_only", "short", DINO)["figures"]["cd"] < SAME
    found = figures(results, "video_only", "short", ROBOT)
    assert found["state"] == "missing" and found["error"].endswith("output_animation.glb: not there")
    program.commands.clear()
    run(release, "--video_only", "--skip_inference")
    assert program.commands == []


def test_results_with_another_number_of_frames_are_paired_by_order_and_noted(release, program):
    for file in (release / "pcds" / f"{JELLY}_pointclouds").glob("frame_0002.npy"):
        file.unlink()
    code, results = run(release, "--video_only", "--only", JELLY)
    assert code == 0
    found = figures(results, "video_only", "long", JELLY)
    assert found["notes"] == ["2 true and 3 predicted frames: the first 2 compared, paired by order"]
    assert len(found["curves"]["cd"]) == 2
    assert found["notes"][0] in (release.parent / "out" / "batch_evaluation.md").read_text("utf-8")


def test_the_lists_may_lie_elsewhere_and_are_read_in_their_order(release, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for length in ("short", "long"):
        shutil.move(release / f"{length}_videos.txt", lists)
    (lists / "long_videos.txt").write_text(f"\n{JELLY}\n\n{DINO}")
    (lists / "short_videos.txt").write_text(f"{ROBOT}\n")
    samples = read_release(release, lists)
    assert [(sample.name, sample.length) for sample in samples] == [(ROBOT, "short"), (JELLY, "long"), (DINO, "long")]
    assert samples[0].frames.is_dir() and samples[0].truth.is_dir()
    with pytest.raises(ReleaseError, match=r"short_videos.txt: no such list of samples; .* --lists"):
        read_release(release)


def test_broken_lists_are_refused(release):
    (release / "long_videos.txt").write_text("a|b\n")
    (release / "short_videos.txt").write_text("a_b\n")
    with pytest.raises(ReleaseError, match=r"'a\|b' and 'a_b' name the same output folder"):
        read_release(release)
    (release / "long_videos.txt").write_text("\n")
    (release / "short_videos.txt").write_text("")
    with pytest.raises(ReleaseError, match="both lists are empty"):
        read_release(release)
    (release / "long_videos.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ReleaseError, match="not readable as a list of samples"):
        read_release(release)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--gt_only", "--video_only"), "give at most one"),
        (("--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--only", "x"), "--only x: no such sample"),
        (("--main_arguments", "--output=x"), "--output=x is set for every sample"),
        (("--main_arguments", '--model "x'), "--main_arguments"),
        (("--lists", "nowhere"), "nowhere/short_videos.txt: no such list"),
    ],
)
def test_wrong_options_are_told_in_one_line_and_exit_with_2(release, program, caplog, more, line):
    code, results = run(release, *more)
    assert code == 2 and results == {}
    assert len(caplog.records) == 1 and line in caplog.text
    assert program.commands == []


def test_a_missing_release_is_told_and_exits_with_2(tmp_path, caplog):
    code, _ = run(tmp_path / "none")
    assert code == 2 and f"{tmp_path}/none: no such folder" in caplog.text


@pytest.mark.slow
def test_main_runs_on_a_release_from_the_given_mesh_and_from_the_video_alone(tmp_path):
    """With real processes; a mesh that already has the first pose is closer to the truth than one that is generated."""
    frames = {"waving_robot": [0, 1], "walking_dino": [0, 1, 2]}
    release = make_release(tmp_path / "release", {ROBOT: "waving_robot"}, {DINO: "walking_dino"}, frames)
    code, results = run(release, "--main_arguments", "--preset fast --motion video")
    assert code == 0
    for length, name in (("short", ROBOT), ("long", DINO)):
        given, alone = (figures(results, method, length, name)["figures"] for method in ("given_mesh", "video_only"))
        assert given["cd"] < 0.05 and given["f_score"] > 0.7
        assert given["cd"] < alone["cd"] < 0.6
