"""The benchmark end to end with small methods: it resumes, goes on after failures, and says what is missing."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

from evaluation import alignment, benchmark, execution, geometry_metrics, measurement, tables, views
from evaluation.learned_metrics import Backbones
from evaluation.processes import Processes
from evaluation.records import BenchmarkOutcome
from evaluation.suite import BenchmarkCase, BenchmarkMethod, Metric, Suite, read_suite
from v2m4.camera import DEFAULT_FOV, framing
from v2m4.ground_truth import TRUTH_FOLDER, GroundTruth
from v2m4.io.gltf import write_animation_glb
from v2m4.render import render_mesh

COUNT, SIDE, FPS = 3, 64, 10.0
POINTS, SAME = 4000, 0.06  # that distances are measured with, and the distance of a surface from itself
METHOD = """
import shutil, sys
from pathlib import Path
ready, frames, output, case = map(Path, sys.argv[1:5])
with (ready / "started.txt").open("a") as stream:
    stream.write(f"{case}\\n")
if (ready / "broken").exists():
    print("E shape: RuntimeError: the mesh | burst")
    print("goodbye")
    sys.exit(1)
folder = output / case
folder.mkdir()
shutil.copyfile(ready / f"{case}.glb", folder / "output_animation.glb")
shutil.copytree(frames, folder / "output_final_rendering_images")
"""


def make_case(folder: Path, name: str, extents: tuple[float, float, float]) -> GroundTruth:
    """A wedge that slides: pictures, truth, and the truth as a result ready to be handed out."""
    shape = trimesh.creation.box(extents).subdivide().subdivide()
    rest = torch.from_numpy(np.asarray(shape.vertices, np.float32))
    rest[:, 0] *= 1 + rest[:, 2] - 0.8 * rest[:, 1]  # no rotation leaves it as it is
    faces = torch.from_numpy(np.asarray(shape.faces, np.int64))
    poses = torch.stack([rest + torch.tensor([0.1 * frame, 0.0, 0.0]) for frame in range(COUNT)])
    colors = np.tile(np.array([[0.2, 0.5, 0.3]]), (len(rest), 1))
    truth = GroundTruth.of(poses.double().numpy(), faces.numpy(), colors, framing(poses, 35, 8, 0.8), DEFAULT_FOV, FPS)
    truth.save(folder / TRUTH_FOLDER / f"{name}.npz")
    sequence = truth.sequence()
    (folder / name).mkdir()
    for frame in range(COUNT):
        shot = render_mesh(sequence[frame], truth.orbit().camera(DEFAULT_FOV), SIDE, channels=("color", "mask"))
        color = shot.color[0] / shot.mask[0].clamp_min(1e-6)
        rgba = torch.cat([color, shot.mask[0]], -1).clamp(0, 1).numpy() * 255
        iio.imwrite(folder / name / f"{frame:04d}.png", rgba.round().astype(np.uint8))
    write_animation_glb(folder / f"{name}.glb", sequence, truth.orbit().camera(DEFAULT_FOV))
    return truth


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    make_case(folder, "wide", (0.4, 0.5, 1.0))
    make_case(folder, "tall", (0.5, 1.0, 0.3))
    (folder / "method.py").write_text(METHOD)
    return folder


@pytest.fixture
def data(stock, tmp_path):
    shutil.copytree(stock, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer points and pixels than the protocols ask for, and code that nobody edits while the tests run."""
    monkeypatch.setattr(execution, "code_version", lambda *packages: f"version 1 of {packages}")
    monkeypatch.setattr(geometry_metrics, "ICP_POINTS", 1000)
    monkeypatch.setattr(alignment, "COARSE_POINTS", 300)
    monkeypatch.setattr(alignment, "FINE_STEPS", 20)
    monkeypatch.setattr(geometry_metrics, "motion80", partial(geometry_metrics.motion80, num_samples=POINTS))
    monkeypatch.setattr(views, "SURFACE_POINTS", 1000)
    monkeypatch.setattr(measurement, "SIZE", 64)
    monkeypatch.setattr(measurement, "SHOWN_SIZE", 32)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Every command that is started; the measurement runs here instead of in a process of its own, for speed."""
    commands: list[list[str]] = []
    run = Processes.run

    def counted(self, command, log, folder):
        commands.append(list(command))
        if "evaluation.measurement" in command:
            assert measurement.main(command[-2:]) == 0
            return None
        return run(self, command, log, folder)

    monkeypatch.setattr(Processes, "run", counted)
    return commands


def suite(data: Path, methods: str = "", metrics: str = "motion80, picture", more_cases: str = "") -> Path:
    path = data.parent / "suite.yaml"
    path.write_text(
        f"name: small\nmetrics: [{metrics}]\nmethods:\n"
        '  - {name: copy, run: ["{python} {data}/method.py {data} {frames} {output} {case}"]}\n'
        f"{methods}cases:\n"
        '  - {name: wide, input: "{data}/wide", truth: "{data}/ground_truth/wide.npz"}\n'
        '  - {name: tall, input: "{data}/tall", truth: "{data}/ground_truth/tall.npz"}\n'
        f"{more_cases}"
    )
    return path


def suite_columns(data: Path) -> list[Metric]:
    return read_suite(data.parent / "suite.yaml").columns()


def run(data: Path, path: Path, *more: str, folder: str = "out") -> tuple[int, dict]:
    output = data.parent / folder
    code = benchmark.main([str(path), "--output", str(output), "--data", str(data), *more])
    file = output / "results.json"
    return code, json.loads(file.read_text("utf-8")) if file.exists() else {}


def entry(results: dict, case: str, method: str = "copy") -> dict:
    (found,) = [item for item in results["results"] if (item["case"], item["method"]) == (case, method)]
    return found


def test_a_perfect_result_has_perfect_figures(data, started):
    code, results = run(data, suite(data, metrics="motion80, motion80-code, trajectory, voxel_iou, picture, views"))
    assert code == 0
    for case in ("wide", "tall"):
        found = entry(results, case)
        figures = found["figures"]
        assert figures["cd"] < SAME and figures["f_score"] > 0.4
        assert figures["code_cd"] < 1.5 * SAME and figures["trajectory"] < 2 and figures["voxel_iou"] > 0.97
        assert figures["psnr"] == 100 and figures["iou"] == 1 and figures["flicker"] == 0
        assert figures["views_iou"] > 0.98 and figures["views_psnr"] > 25
        curves = {metric.name for metric in suite_columns(data)} - {"flicker"}
        assert {name: len(curve) for name, curve in found["curves"].items()} == dict.fromkeys(curves, COUNT)
        assert found["seconds"] > 0 and found["peak_memory_mib"] > 0
    assert results["mean_over"]["cd"] == ["wide", "tall"]
    values = [entry(results, case)["figures"]["cd"] for case in ("wide", "tall")]
    assert results["mean"]["copy"]["cd"] == pytest.approx(np.mean(values))
    assert len(started) == 4


def test_a_worse_result_has_worse_figures(data):
    shutil.copyfile(data / "tall.glb", data / "wide.glb")
    _, results = run(data, suite(data))
    assert entry(results, "wide")["figures"]["cd"] > 2 * entry(results, "tall")["figures"]["cd"]


def test_a_second_run_starts_nothing_and_gives_the_same(data, started):
    path = suite(data)
    _, first = run(data, path)
    page = (data.parent / "out" / "index.html").read_bytes()
    started.clear()
    code, second = run(data, path)
    assert code == 0
    assert started == []
    assert second == first
    assert (data.parent / "out" / "index.html").read_bytes() == page


def test_only_what_follows_from_a_change_is_done_again(data, started, monkeypatch):
    path = suite(data)
    run(data, path)
    started.clear()
    shutil.copyfile(data / "tall" / "0000.png", data / "wide" / "0002.png")  # an input
    run(data, path)
    assert (data / "started.txt").read_text().split() == ["wide", "tall", "wide"]
    assert len(started) == 2
    started.clear()
    run(data, suite(data, metrics="motion80"))  # what is measured
    assert all("evaluation.measurement" in command for command in started)
    assert len(started) == 2
    started.clear()
    (data / "method.py").write_text(METHOD + "\n")  # the method's code
    run(data, suite(data, metrics="motion80"))
    assert len((data / "started.txt").read_text().split()) == 5
    started.clear()
    monkeypatch.setattr(execution, "code_version", lambda *packages: f"version {1 + ('texture' in packages)}")
    run(data, suite(data, metrics="motion80"), "--only", "wide")  # the program's code
    assert len((data / "started.txt").read_text().split()) == 6
    assert len(started) == 2


def test_a_failure_stands_in_the_tables_and_the_others_go_on(data, started):
    (data / "broken").touch()
    path = suite(data, methods='  - {name: ready, mesh: "{data}/{case}.glb"}\n', metrics="motion80")
    code, results = run(data, path)
    assert code == 1
    found = entry(results, "tall")
    assert (found["state"], found["error"]) == ("failed", "shape: RuntimeError: the mesh | burst")
    assert entry(results, "tall", "ready")["figures"]["cd"] < SAME
    assert results["mean_over"]["cd"] == ["wide", "tall"]
    output = data.parent / "out"
    assert "- tall, copy: failed: shape: RuntimeError: the mesh | burst" in (output / "table.md").read_text()
    assert "the mesh | burst" in (output / "index.html").read_text()
    assert "goodbye" in (output / "results" / "copy" / "tall" / "log.txt").read_text()
    (data / "broken").unlink()
    started.clear()
    code, results = run(data, path)
    assert code == 0
    assert entry(results, "tall")["state"] == "done"
    assert len(started) == 4  # the two that had failed, run and measured


def test_missing_data_are_named_and_the_others_go_on(data):
    more = '  - {name: gone, input: "{data}/nowhere/gone"}\n'
    code, results = run(data, suite(data, methods='  - {name: video, video: "{data}/{case}.mp4"}\n', more_cases=more))
    assert code == 1
    assert entry(results, "gone")["state"] == "missing"
    assert entry(results, "gone")["error"] == f"{data}/nowhere/gone: not there"
    assert entry(results, "wide", "video")["error"] == f"{data}/wide.mp4: not there"
    assert entry(results, "wide")["state"] == "done"


def test_what_only_leaves_out_does_not_count_as_missing(data):
    code, results = run(data, suite(data, more_cases='  - {name: gone, input: "{data}/gone"}\n'), "--only", "wide")
    assert code == 0
    assert [item["case"] for item in results["results"]] == ["wide"]


def test_an_unreadable_truth_fails_alone(data):
    (data / TRUTH_FOLDER / "wide.npz").write_bytes(b"no truth")
    code, results = run(data, suite(data, metrics="motion80"))
    assert code == 1
    assert entry(results, "wide")["state"] == "failed"
    assert entry(results, "tall")["state"] == "done"


def test_jobs_change_nothing_but_the_seconds(data):
    path = suite(data)
    _, one = run(data, path)
    _, two = run(data, path, "--jobs", "2", folder="other")
    for results in (one, two):
        statistics = [values for name in ("mean", "median", "worst") for values in results[name].values()]
        for item in (*results["results"], *statistics):
            item.pop("seconds")
            item.pop("peak_memory_mib")
    assert one == two


def test_a_metric_that_cannot_be_had_is_a_note_and_no_number(data, monkeypatch):
    monkeypatch.setattr(measurement, "load_backbones", lambda *_: Backbones(torch.device("cpu"), {}, None, MISSING))
    frame = {"trajectory": measurement.OTHER_GROUPS["trajectory"]}
    monkeypatch.setattr(measurement, "OTHER_GROUPS", {**frame, "voxel_iou": refuses})
    code, results = run(data, suite(data, metrics="motion80, trajectory, voxel_iou, picture, learned"))
    assert code == 0
    found = entry(results, "wide")
    assert "voxel_iou" not in found["figures"] and "lpips" not in found["figures"]
    assert found["figures"]["trajectory"] < 2
    assert found["notes"] == ["lpips: put vgg.pth there", "nothing is enclosed"]
    table = (data.parent / "out" / "table.md").read_text()
    assert "- lpips: put vgg.pth there (all results)" in table
    assert "LPIPS" not in table.replace("lpips", "")


MISSING = {"lpips": "put vgg.pth there"}


def refuses(*_):
    raise ValueError("nothing is enclosed")


def test_only_runs_one_and_keeps_what_is_done(data, started):
    path = suite(data, metrics="motion80")
    _, results = run(data, path, "--only", "tall")
    assert [item["case"] for item in results["results"]] == ["tall"]
    assert (data / "started.txt").read_text().split() == ["tall"]
    _, results = run(data, path, "--only", "wide")
    assert [item["case"] for item in results["results"]] == ["wide", "tall"]
    started.clear()
    run(data, path)
    assert started == []


def test_half_runs_and_tabulates_one_half(data):
    held_out = '  - {name: kept, held_out: true, input: "{data}/wide", truth: "{data}/ground_truth/wide.npz"}\n'
    shutil.copyfile(data / "wide.glb", data / "kept.glb")
    path = suite(data, metrics="trajectory", more_cases=held_out)
    _, results = run(data, path, "--half", "tuning")
    assert [item["case"] for item in results["results"]] == ["wide", "tall"]
    assert sorted((data / "started.txt").read_text().split()) == ["tall", "wide"]
    values = [entry(results, case)["figures"]["trajectory"] for case in ("wide", "tall")]
    assert results["median"]["copy"]["trajectory"] == pytest.approx(np.median(values))
    assert results["worst"]["copy"]["trajectory"] == max(values)
    _, results = run(data, path, "--half", "held_out")
    assert [item["case"] for item in results["results"]] == ["kept"]
    assert len(entry(results, "kept")["curves"]["trajectory"]) == COUNT


def test_marks_are_read_from_the_manifest_beside_the_mesh(tmp_path):
    measured = measurement.Measurement()
    measurement.add_loss_marks(tmp_path / "output_animation.glb", measured)
    assert "lost" not in measured.figures and "no record" in measured.notes[0]
    motion = {"iou": [1.0, 0.5, 0.9, 0.4], "lost": {"1": "outlines", "3": "outlines"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"motion": motion}))
    measurement.add_loss_marks(tmp_path / "output_animation.glb", measured)
    assert measured.figures["lost"] == 0.5 and measured.curves["lost"] == [0.0, 1.0, 0.0, 1.0]


def test_the_page_holds_its_pictures_and_asks_nothing_of_the_network(data):
    run(data, suite(data))
    page = (data.parent / "out" / "index.html").read_text("utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links and all(link.startswith(("data:image/", "#case-")) for link in links)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.count("<img") == 2 * 3 * 6  # cases, frames, the video and five views
    assert page.count("<svg") == 2 * 5
    folder = data.parent / "out" / "results" / "copy" / "wide" / "pictures"
    assert len(list(folder.glob("*_[0-2].jpg"))) == 18


def test_a_result_that_lasts_too_long_is_refused(data, monkeypatch):
    truth = GroundTruth.load(data / TRUTH_FOLDER / "wide.npz")
    with pytest.raises(ValueError, match=r"lasts until 0.200 s, the truth until 0.400 s; hand \{fps\}"):
        measurement.read_result(data / "wide.glb", 2 * truth.sequence().times)
    with pytest.raises(FileNotFoundError, match="the method left no such file"):
        measurement.read_result(data / "none.glb", truth.sequence().times)
    assert len(measurement.read_result(data / "wide.glb", truth.sequence().times)) == COUNT
    with pytest.raises(ValueError, match="3 frames, the truth has 5"):
        measurement.read_result(data / TRUTH_FOLDER / "wide.npz", np.arange(5) / FPS)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--jobs", "0"), "at least 1"),
        (("--only", "x"), "no such case or method; choose from wide"),
        (("--half", "held_out"), "--half held_out: suite small has no such case"),
    ],
)
def test_a_wrong_option_is_told_in_one_line_and_exits_with_2(data, caplog, started, more, line):
    code, _ = run(data, suite(data), *more)
    assert code == 2
    assert len(caplog.records) == 1 and line in caplog.text
    assert started == []


def test_a_broken_suite_is_told_in_one_line_and_exits_with_2(data, caplog, started):
    code, _ = run(data, suite(data, metrics="beauty"))
    assert code == 2
    assert len(caplog.records) == 1 and "'beauty' is unknown" in caplog.text
    assert started == [] and not (data.parent / "out").exists()


def test_means_are_over_cases_that_all_methods_have():
    cases = tuple(BenchmarkCase(name, input="x", truth="y") for name in "abc")
    done = {("a", "one"): 1.0, ("b", "one"): 3.0, ("c", "one"): 50.0, ("a", "two"): 2.0, ("b", "two"): 2.0}
    outcomes = [BenchmarkOutcome(*pair, "done", measured={"figures": {"cd": value}}) for pair, value in done.items()]
    outcomes += [
        BenchmarkOutcome("c", "two", "failed", "burst"),
        *(BenchmarkOutcome(name, "three", "left out") for name in "abc"),
    ]
    names = ("one", "two", "three")
    results = tables.Results(
        Suite("s", ("motion80",), tuple(BenchmarkMethod(name, mesh="x") for name in names), cases), outcomes
    )
    (cd,) = results.columns()
    assert results.methods == ["one", "two"]
    assert results.mean("one", cd) == results.mean("two", cd) == 2.0
    assert tables.mean_line(results, cd) == "mean of 2 of 3 cases (a, b)"
    text = tables.markdown(results)
    assert "| a | **1.0000** | 2.0000 |" in text
    assert "| c | 50.0000 | failed |" in text
    assert "| worst | 3.0000 | 2.0000 |" in text


def test_names_agree_with_the_ground_floor():
    assert execution.TRUTH_FOLDER == TRUTH_FOLDER
    assert execution.RENDERER.parent.is_dir()


@pytest.mark.slow
def test_an_asset_becomes_a_case(data, monkeypatch):
    """Pictures and truth are rendered by the tool, as a process, and a truth that lies ready is found perfect."""
    path = data.parent / "suite.yaml"
    copy = '"{python} -c \\"import sys, shutil; shutil.copy(*sys.argv[1:])\\" %s {output}"'
    path.write_text(
        "name: asset\nmetrics: [motion80]\nmethods:\n"
        f'  - {{name: copy, run: [{copy % "{truth}"}, {copy % "{first_mesh}"}], mesh: "{{output}}/{{case}}.npz"}}\n'
        'cases:\n  - {name: box, asset: "{data}/wide.glb", frames: 2, yaw: 35, pitch: 8, fov: 25}\n'
    )
    code, results = run(data, path)
    assert code == 0
    truth = data.parent / "out" / "cases" / "box" / "input" / TRUTH_FOLDER / "box.npz"
    assert execution._video_metadata(truth)["fov"] == "25"
    assert execution._video_metadata(None) == {"fps": "30", "fov": "40"}
    assert entry(results, "box")["figures"]["cd"] < SAME
    root = data.parent / "out" / "cases" / "box" / "input"
    assert len(list((root / "box").glob("*.png"))) == 2
    left = next((data.parent / "out" / "results" / "copy").rglob("box.glb"))
    assert left.read_bytes() == (root / TRUTH_FOLDER / "box.glb").read_bytes()
