"""The command end to end on tiny clips: results, resumption, sameness, bad input."""

import errno
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

import main
from evaluation import gltf_validator
from tests.quick_runs import result
from tests.v2m4.io.blender_here import BLENDER, needs_blender
from v2m4 import device
from v2m4.io.gltf_animation import read_animation
from v2m4.workspace import Workspace

TINY = [
    *("--preset", "fast", "--device", "cpu", "--skip", "2", "--key_frames", "even", "--max_faces", "400"),
    *("--generation.grid", "48", "--generation.texture_size", "64"),
    *("--search.samples", "32", "--search.particles", "8", "--search.swarm_steps", "1", "--search.refine_steps", "3"),
    *("--search.size", "48", "--search.proxy_faces", "400"),
    *("--registration.coarse_steps", "3", "--registration.fine_steps", "4", "--registration.views", "1"),
    *("--registration.size", "48", "--registration.video_size", "48"),
    *("--texture.size", "128", "--texture.views", "2", "--texture.view_size", "64"),
]


def write_clip(folder: Path, count: int = 4, side: int = 72) -> None:
    """A body with two arms that swing, alpha given."""
    folder.mkdir(parents=True)
    for index in range(count):
        rgba = np.zeros((side, side, 4), np.uint8)
        swing = 3 * index
        cv2.ellipse(rgba, (36, 36), (12, 20), 0, 0, 360, (200, 60, 40, 255), -1)
        cv2.line(rgba, (36, 30), (12, 24 + swing), (40, 90, 200, 255), 6)
        cv2.line(rgba, (36, 30), (60, 38 - swing), (40, 200, 90, 255), 6)
        iio.imwrite(folder / f"{index}.png", rgba)


def run(root: Path, output: Path, *more: str) -> int:
    return main.main(["--root", str(root), "--output", str(output), *TINY, *more])


ONE_THREAD = """
import sys
import main
from v2m4 import kernels
code = main.main(sys.argv[1:])
for entry in kernels._declared:
    others = set(entry.dispatcher.signatures) - {entry.signature}
    assert not others, (entry, others)
    assert entry.ahead or not entry.dispatcher.signatures, entry
sys.exit(code)
"""


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    assert run(clips, output, "--threads", "2") == 0
    return output


def test_one_thread_gives_the_same_bytes_and_calls_kernels_as_declared(
    clips: Path, whole: Path, tmp_path: Path
) -> None:
    """What kernels are called with must be what they are compiled for ahead; other types would be compiled anew."""
    arguments = ["--root", str(clips), "--output", str(tmp_path), *TINY, "--threads", "1"]
    subprocess.run([sys.executable, "-c", ONE_THREAD, *arguments], cwd=Path(main.__file__).parent, check=True)
    assert result(tmp_path) == result(whole)


def test_four_threads_give_the_same_bytes_as_two(clips: Path, whole: Path, tmp_path: Path) -> None:
    """Also where the machine has fewer cores."""
    assert run(clips, tmp_path, "--threads", "4") == 0
    assert result(tmp_path) == result(whole)


def test_every_promised_file_is_there(whole: Path) -> None:
    folder = whole / "arms"
    expected = ["extrinsics_list.pkl", "cameras.json", "output_mesh.glb", "output_vertex_offsets.npy"]
    expected += ["output_texture.png", "output_animation.glb", "manifest.json", "contact_sheet.png", "report.html"]
    expected += [f"{name}_rmbg.png" for name in range(4)]
    expected += [f"{name}_re-canonicalization_sample.glb" for name in (0, 2, 3)]
    expected += [f"{name}_consistency_sample.glb" for name in (0, 2, 3)]
    expected += [f"{name}_texture_consistency_sample.glb" for name in range(4)]
    missing = [name for name in expected if not (folder / name).is_file()]
    assert not missing
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {stage: entry["state"] for stage, entry in manifest["stages"].items()} == dict.fromkeys(
        ["frames", "generation", "camera_search", "registration", "texture", "export"], "done"
    )
    assert manifest["seed"] == 42
    assert manifest["warnings"] == []
    assert manifest["figures"]["mean_iou"] > 0.5
    offsets = np.load(folder / "output_vertex_offsets.npy")
    assert offsets.shape[0] == 4
    assert np.abs(offsets[2]).max() > 0


@pytest.mark.skipif(not gltf_validator.is_installed(), reason=gltf_validator.MISSING)
def test_the_validator_finds_nothing_in_any_file(whole: Path) -> None:
    paths = sorted(whole.rglob("*.glb"))
    assert len(paths) >= 12
    assert gltf_validator.errors_and_warnings(paths) == {}


def test_two_runs_with_one_seed_give_the_same_bytes(clips: Path, whole: Path, tmp_path: Path) -> None:
    assert run(clips, tmp_path) == 0
    assert result(tmp_path) == result(whole)


def test_frames_are_written_as_obj_and_ply(clips: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    assert run(clips, output, "--formats", "ply,obj") == 0
    assert result(output) == result(whole)
    for name in ("obj", "ply"):
        folder = output / "arms" / f"output_animation_{name}"
        assert sorted(file.name for file in folder.glob(f"*.{name}")) == [f"{index}.{name}" for index in range(4)]
        assert (folder / "texture.png").is_file()
    assert (output / "arms" / "output_animation_obj" / "material.mtl").is_file()
    written = output / "arms" / "output_animation_obj" / "3.obj"
    before = written.stat().st_mtime_ns
    assert run(clips, output, "--formats", "obj") == 0
    assert written.stat().st_mtime_ns == before
    assert not list((output / "arms").glob("*.fbx"))


@needs_blender
@pytest.mark.slow
def test_blender_writes_what_is_asked_for(clips: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    assert run(clips, output, "--blender_path", str(BLENDER), "--formats", "fbx,usdz") == 0
    found = {file.suffix for file in (output / "arms").glob("output_animation.*")}
    assert found == {".glb", ".fbx", ".usdz"}
    assert run(clips, output, "--blender_path", str(BLENDER)) == 0
    found = {file.suffix for file in (output / "arms").glob("output_animation.*")}
    assert found == {".glb", ".fbx", ".usdz", ".usd", ".abc"}


@pytest.mark.parametrize("artefacts", [0, 2, 5, 8, 11])
def test_a_killed_run_goes_on_and_ends_the_same(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artefacts: int
) -> None:
    record, count = Workspace.record, 0

    def killed(self: Workspace, name: str, key: str) -> None:
        nonlocal count
        if count == artefacts:
            raise KeyboardInterrupt
        count += 1
        record(self, name, key)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "record", killed)
        assert run(clips, tmp_path) == 130
    assert not (tmp_path / "arms" / "output_animation.glb").exists()
    assert run(clips, tmp_path) == 0
    assert result(tmp_path) == result(whole)


def test_a_second_run_makes_nothing_again_and_other_options_do(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(clips, tmp_path) == 0
    made: list[str] = []
    record = Workspace.record
    monkeypatch.setattr(Workspace, "record", lambda self, name, key: (made.append(name), record(self, name, key)))
    assert run(clips, tmp_path) == 0
    assert [name for name in made if name.endswith(".npz")] == []
    before = result(tmp_path)
    assert run(clips, tmp_path, "--registration.trust", "no") == 0
    assert not [name for name in made if name.startswith("1_generation")]
    assert [name for name in made if name.startswith("3_registration")]
    assert result(tmp_path) != before


def test_one_broken_animation_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "clips"
    write_clip(root / "größe 1", count=1)
    write_clip(root / "broken")
    (root / "broken" / "1.png").write_bytes(b"\x89PNG nothing")
    write_clip(root / "sizes")
    iio.imwrite(root / "sizes" / "2.png", np.full((20, 30, 4), 255, np.uint8))
    write_clip(root / "nothing")
    iio.imwrite(root / "nothing" / "2.png", np.zeros((72, 72, 4), np.uint8))
    assert run(root, tmp_path / "out") == 1
    told = capsys.readouterr()
    assert (tmp_path / "out" / "größe 1" / "output_animation.glb").is_file()
    lines = (told.out + told.err).splitlines()
    (header,) = (line for line in lines if line.startswith("animation"))
    assert header.split()[:4] == ["animation", "frames", "read", "s"]
    assert header.split()[-5:] == ["PSNR@256", "IoU@256", "MB", "lost", "result"]
    (row,) = (line for line in lines if line.startswith("größe 1 "))
    psnr, iou = (float(cell) for cell in row.removesuffix("größe 1/report.html").split()[-5:-3])
    assert psnr > 10 and iou > 0.5
    for name, word in {"broken": "1.png", "sizes": "2.png", "nothing": "2"}.items():
        assert any(name in line and word in line for line in lines), name


def test_quiet_shows_notices_and_one_line_and_verbose_the_log(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path) == 0
    quiet = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in quiet] == ["I all stages run on the CPU; generator", *["I arms"] * 3]
    assert "foreground: alpha" in quiet[1] and "done after" in quiet[3]
    assert re.search(r"needs about \d+ s, \d\.\d GiB of memory, \d+ MiB on disk", quiet[2])
    figures = json.loads((tmp_path / "arms" / "manifest.json").read_text())["figures"]
    assert len(figures["psnr"]) == len(figures["iou"]) == len(figures["names"]) == 4
    assert figures["mean_iou"] == pytest.approx(np.mean(figures["iou"]), abs=1e-5)
    assert run(clips, tmp_path, "--verbose") == 0
    assert any("similarity" in line for line in capsys.readouterr().err.splitlines())


@pytest.fixture
def gpu_without_nvdiffrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, a driver and a PyTorch that use each other, but without the rasteriser."""
    find = importlib.util.find_spec
    monkeypatch.setattr(device, "cuda_in_sight", lambda: True)
    monkeypatch.setattr(device, "_devices", lambda: 1)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "nvdiffrast" else find(name, *more)
    )


@pytest.mark.usefixtures("gpu_without_nvdiffrast")
def test_a_gpu_without_its_rasteriser_is_told_in_one_line_and_the_cpu_works(
    clips: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path, "--device", "auto", "--preset", "auto") == 0
    told = capsys.readouterr()
    assert result(tmp_path) == result(whole)
    assert "cpu, preset fast" in told.out
    (line,) = (line for line in told.err.splitlines() if "GPU" in line)
    assert line == f"W the GPU is not used: nvdiffrast is not installed; {device.NVDIFFRAST}"
    assert "all stages run on the CPU" in told.err


@pytest.mark.usefixtures("gpu_without_nvdiffrast")
def test_cuda_without_its_rasteriser_exits_with_two_before_any_work(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path / "out", "--device", "cuda") == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.strip())
    assert line == f"E --device cuda: nvdiffrast is not installed; {device.NVDIFFRAST}, or use --device cpu"
    assert not (tmp_path / "out").exists()


def test_the_published_method_runs_on_a_cpu(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        *("--preset", "paper", "--device", "cpu", "--skip", "2", "--max_faces", "300", "--generation.grid", "48"),
        *("--search.samples", "40", "--search.particles", "10", "--search.swarm_steps", "2", "--search.size", "32"),
        *("--search.refine_steps", "3", "--registration.coarse_steps", "3", "--registration.half_turn_steps", "1"),
        *("--registration.fine_steps", "4", "--registration.coarse_views", "2", "--registration.views", "2"),
        *("--registration.size", "32", "--registration.points", "200"),
        *("--texture.size", "128", "--texture.views", "3", "--texture.view_size", "48", "--texture.steps", "8"),
    ]
    monkeypatch.chdir(tmp_path)  # no weights of DreamSim in ./models
    assert main.main(["--root", str(clips), "--output", str(tmp_path / "out"), *small]) == 0
    told = capsys.readouterr()
    (line,) = (line for line in told.err.splitlines() if "preset paper" in line)
    assert "PnP for DUSt3R" in line and "for DreamSim" in line
    folder = tmp_path / "out/arms"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["key_frames"] == ["0", "2", "3"]
    assert manifest["learned_parts"]["point_map"].startswith("feature matches")
    assert not list(folder.glob("3_registration/*between*"))
    offsets = np.load(folder / "output_vertex_offsets.npy")
    np.testing.assert_allclose(offsets[1], offsets[2] / 2, atol=1e-4)  # linear between the poses of key frames


HEAVY = ("torch", "cv2", "numba", "scipy", "trimesh")  # seconds, together


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--model Hunyuan",
        "--model TripoSG",
        "--model Craftsman",
        "--model TRELLIS",
        "--use_vggt",
        "--search.point_map dust3r",
        "--search.similarity dreamsim",
        "--generation.refine networks",
        "--use_tracking",
        "--frames.foreground rembg",
        "--frames.foreground sam2",
        "--skip 0",
        "--device cuda",
        "--preset paper --model Hunyuan",
        "--fov 130",
    ],
)
def test_nothing_heavy_is_loaded_before_a_refusal(line: str) -> None:
    """So that it comes within a second, on a slow machine too."""
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        # As on a machine that has nothing but the core.
        f"importlib.util.find_spec = lambda name, *more: find(name, *more) if name in {HEAVY} else None\n"
        "import main\ntry: ended = main.main(sys.argv[1:])\nexcept SystemExit as stop: ended = stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], ended)"
    )
    told = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == ("[] 0" if line == "--help" else "[] 2")
    if line == "--device cuda":
        assert "driver" in told.stderr or "PyTorch" in told.stderr or "nvdiffrast" in told.stderr
    elif line not in ("--help", "--skip 0", "--fov 130"):
        assert "is not installed; " in told.stderr


def test_another_lens_is_recorded_and_redoes_everything_but_the_frames(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(clips, tmp_path) == 0
    made: list[str] = []
    record = Workspace.record
    monkeypatch.setattr(Workspace, "record", lambda self, name, key: (made.append(name), record(self, name, key)))
    monkeypatch.setattr("v2m4.io.clip.read_clip", lambda *_: pytest.fail("the frames are there"))
    assert run(clips, tmp_path, "--fov", "25") == 0
    arrays = {name for name in made if name.endswith(".npz")}
    for folder, names in {"1_generation": (0, 2, 3), "2_camera_search": (0, 2, 3)}.items():
        assert {f"{folder}/{name}.npz" for name in names} <= arrays
    assert {"3_registration/joint.npz", "3_registration/between.npz", "4_texture/texture.npz"} <= arrays
    cameras = json.loads((tmp_path / "arms" / "cameras.json").read_text())
    assert cameras["fov"] == pytest.approx(np.radians(25))
    manifest = json.loads((tmp_path / "arms" / "manifest.json").read_text())
    assert (manifest["fov"], manifest["config"]["fov"]) == (25, 25)
    assert manifest["stages"]["frames"]["state"] == "done"
    assert json.loads((whole / "arms" / "cameras.json").read_text())["fov"] == pytest.approx(np.radians(40))
    assert result(tmp_path) != result(whole)


def test_a_broken_clip_is_told_in_its_manifest(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "arms")
    (tmp_path / "clips" / "arms" / "1.png").write_bytes(b"nothing")
    assert run(tmp_path / "clips", tmp_path / "out") == 1
    entry = json.loads((tmp_path / "out" / "arms" / "manifest.json").read_text())["stages"]["frames"]
    assert entry["state"] == "failed" and "1.png" in entry["reason"]
    write_clip(tmp_path / "again" / "arms", count=1)
    assert run(tmp_path / "again", tmp_path / "out") == 0


def test_a_full_disk_is_told_with_the_place_and_what_was_done_stays(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record, count = Workspace.record, 0

    def full(self: Workspace, name: str, key: str) -> None:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        record(self, name, key)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "record", full)
        assert run(clips, tmp_path) == 1
    told = capsys.readouterr().err
    assert "No space left" in told
    assert str(tmp_path / "arms") in told
    assert run(clips, tmp_path) == 0
    assert result(tmp_path) == result(whole)


def test_baseline_writes_a_mesh_for_every_frame(clips: Path, tmp_path: Path) -> None:
    assert run(clips, tmp_path, "--baseline") == 0
    written = list((tmp_path / "arms").glob("*_baseline_sample.glb"))
    assert len(written) == 4
    if gltf_validator.is_installed():
        assert gltf_validator.errors_and_warnings(written) == {}
    assert not (tmp_path / "arms" / "output_animation.glb").exists()


def test_motion_by_the_video_moves_one_mesh_through_every_frame(clips: Path, tmp_path: Path) -> None:
    tiny = ("--drive.nodes", "12", "--drive.size", "64", "--drive.points", "100", "--drive.rounds", "1")
    assert run(clips, tmp_path, "--motion", "video", *tiny, "--drive.passes", "1") == 0
    folder = tmp_path / "arms"
    sequence = read_animation(folder / "output_animation.glb")
    assert len(sequence) == 4
    offsets = np.load(folder / "output_vertex_offsets.npy")
    assert offsets.shape[0] == 4
    assert np.abs(offsets[3]).max() > 0.005
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["state"] for entry in manifest["stages"].values()} == {"done"}
    assert len(manifest["motion"]["iou"]) == 4
    assert manifest["motion"]["mean_iou"] > 0.6
    assert "quality of fit by frame" in (folder / "report.html").read_text("utf-8")
    assert [path.name for path in sorted(folder.glob("*_re-canonicalization_sample.glb"))] == [
        "0_re-canonicalization_sample.glb"  # one mesh is generated, the first frame's
    ]
    before = result(tmp_path)
    assert run(clips, tmp_path, "--motion", "video", *tiny, "--drive.passes", "1") == 0
    assert result(tmp_path) == before
