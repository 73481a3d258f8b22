"""The command end to end on tiny clips: results, resumption, sameness, bad input."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

import main
from v2m4.workspace import Workspace

TINY = [
    *("--preset", "fast", "--device", "cpu", "--skip", "2", "--key_frames", "even", "--max_faces", "400"),
    *("--generation.grid", "48", "--generation.texture_size", "64"),
    *("--search.samples", "32", "--search.particles", "8", "--search.swarm_steps", "1", "--search.refine_steps", "3"),
    *("--search.size", "48", "--search.proxy_faces", "400"),
    *("--registration.coarse_steps", "3", "--registration.fine_steps", "4", "--registration.views", "1"),
    *("--registration.size", "48", "--registration.video_size", "48"),
    *("--texture.size", "64", "--texture.views", "2", "--texture.view_size", "64"),
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


def result(output: Path, name: str = "arms") -> bytes:
    return (output / name / "output_animation.glb").read_bytes()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    write_clip(root / "arms")
    return root


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


def test_every_promised_file_is_there(whole: Path) -> None:
    folder = whole / "arms"
    expected = ["extrinsics_list.pkl", "cameras.json", "output_mesh.glb", "output_vertex_offsets.npy"]
    expected += ["output_texture.png", "output_animation.glb", "manifest.json", "contact_sheet.png"]
    expected += [f"{name}_rmbg.png" for name in (0, 2, 3)]
    expected += [f"{name}_re-canonicalization_sample.glb" for name in (0, 2, 3)]
    expected += [f"{name}_consistency_sample.glb" for name in (0, 2, 3)]
    expected += [f"{name}_texture_consistency_sample.glb" for name in range(4)]
    missing = [name for name in expected if not (folder / name).is_file()]
    assert not missing
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {stage: entry["state"] for stage, entry in manifest["stages"].items()} == dict.fromkeys(
        ["generation", "camera_search", "registration", "texture", "export"], "done"
    )
    assert manifest["seed"] == 42
    offsets = np.load(folder / "output_vertex_offsets.npy")
    assert offsets.shape[0] == 4
    assert np.abs(offsets[2]).max() > 0


def test_two_runs_with_one_seed_give_the_same_bytes(clips: Path, whole: Path, tmp_path: Path) -> None:
    assert run(clips, tmp_path) == 0
    assert result(tmp_path) == result(whole)


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
    for name, word in {"broken": "1.png", "sizes": "2.png", "nothing": "2"}.items():
        assert any(name in line and word in line for line in lines), name


@pytest.mark.parametrize(
    "line",
    [
        "--model Hunyuan",
        "--model TRELLIS",
        "--use_vggt",
        "--use_tracking",
        "--skip 0",
        "--N 2 --n 2",
        "--max_faces 3",
        "--blender_path /nowhere/at/all",
    ],
)
def test_what_cannot_be_had_exits_with_two_and_one_line(
    clips: Path, tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clips, tmp_path / "out", *line.split()) == 2
    told = [text for text in capsys.readouterr().err.splitlines() if text.strip()]
    assert len(told) == 1
    assert line.split(maxsplit=1)[0] in told[0]
    assert not (tmp_path / "out").exists()


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
    if line not in ("--help", "--skip 0"):
        assert "is not installed; " in told.stderr


def test_a_root_that_is_not_there_exits_with_two(tmp_path: Path) -> None:
    assert run(tmp_path / "none", tmp_path / "out") == 2


def test_an_output_that_cannot_be_written_is_told(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    assert run(clips, tmp_path / "out") == 1
    assert "arms" in capsys.readouterr().err


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
    assert len(list((tmp_path / "arms").glob("*_baseline_sample.glb"))) == 4
    assert not (tmp_path / "arms" / "output_animation.glb").exists()
