"""The command on a mesh of one's own: --mesh, --video, --motion video."""

import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh

import main
from evaluation import gltf_validator
from registration.video import stage
from v2m4.camera import DEFAULT_FOV, Camera, Orbit
from v2m4.config import FAST
from v2m4.export import CAMERAS, read_cameras
from v2m4.io.gltf import read_glb, write_glb
from v2m4.io.gltf_animation import read_animation
from v2m4.mesh import Mesh
from v2m4.preflight import formats
from v2m4.render import render_mesh

SIDE, FRAMES, TURN = 128, 4, 0.12  # pixels, frames, radians a frame
QUICK = [
    *("--preset", "fast", "--device", "cpu", "--search.samples", "64", "--search.particles", "16"),
    *("--search.swarm_steps", "2", "--search.refine_steps", "30", "--drive.nodes", "30", "--drive.size", "128"),
    *("--drive.points", "300", "--drive.rounds", "2", "--drive.passes", "1"),
]


def club() -> Mesh:
    """A head on a stick, coloured in patches, upright along z, 200 units long."""
    shape = trimesh.creation.icosphere(3, 40.0)
    vertices = torch.tensor(shape.vertices, dtype=torch.float32)
    stretch = torch.where(vertices[:, 2:] < 0, 3.0, 1.0)
    vertices = vertices * torch.cat([torch.ones(len(vertices), 2), stretch], 1)
    vertices[:, 0] *= 1.4
    patches = torch.sin(vertices / 11) * 0.35 + 0.5
    return Mesh(vertices, torch.tensor(shape.faces), colors=patches)


def swung(mesh: Mesh, step: int) -> torch.Tensor:
    """The club turned about its lower end, in its own units."""
    angle = torch.tensor(TURN * step)
    pivot = torch.tensor([0.0, 0.0, -120.0])
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    return (mesh.vertices - pivot) @ turn.T + pivot


def make_case(folder: Path, fov: float, radius: float) -> Path:
    """The mesh, lying on its back as z-up files do, and its video."""
    mesh = club()
    write_glb(folder / "club.glb", mesh)
    upright = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    to_camera = Orbit.of(yaw=0.2, pitch=0.15, radius=radius).camera().extrinsics[0] @ upright @ mesh.normalizing()
    (folder / "swing").mkdir()
    for step in range(FRAMES):
        seen = mesh.with_vertices(swung(mesh, step) @ to_camera[:3, :3].T + to_camera[:3, 3])
        picture = render_mesh(seen, Camera.identity(fov), SIDE, channels=("color", "mask"))
        mask = picture.mask[0].clamp(0, 1)
        rgba = torch.cat([picture.color[0] / mask.clamp_min(1e-6), mask], -1).clamp(0, 1)
        iio.imwrite(folder / "swing" / f"{step}.png", (255 * rgba).round().to(torch.uint8).numpy())
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_case(tmp_path_factory.mktemp("case"), DEFAULT_FOV, 2.0)


def run(case: Path, output: Path, *more: str) -> int:
    return main.main(
        ["--mesh", str(case / "club.glb"), "--video", str(case / "swing"), "--output", str(output), *QUICK, *more]
    )


@pytest.fixture(scope="module")
def moved(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("moved")
    assert run(case, output) == 0
    return output / "swing"


def test_the_users_mesh_moves_as_the_video_shows(case: Path, moved: Path) -> None:
    mesh = club()
    fps = read_cameras(moved / CAMERAS).fps
    found = read_animation(moved / "output_animation.glb", times=np.arange(FRAMES) / fps)
    assert torch.equal(found.mesh.faces, read_glb(case / "club.glb").faces)
    for step in range(FRAMES):
        off = (found.vertices[step] - swung(mesh, step)).norm(dim=1)
        assert off.mean() < 0.03 * 200, f"frame {step}: {off.mean():.1f} of 200 units off"
    assert (swung(mesh, 3) - mesh.vertices).norm(dim=1).mean() > 0.12 * 200


def test_a_wide_lens_is_told(tmp_path: Path) -> None:
    case, mesh = make_case(tmp_path, np.radians(75), 1.15), club()
    off = {}
    for degrees in (75, 40):
        assert run(case, tmp_path / str(degrees), "--fov", str(degrees)) == 0
        folder = tmp_path / str(degrees) / "swing"
        recorded = read_cameras(folder / CAMERAS)
        assert recorded.cameras.fov == pytest.approx(np.radians(degrees))
        found = read_animation(folder / "output_animation.glb", times=np.arange(FRAMES) / recorded.fps)
        truth = torch.stack([swung(mesh, step) for step in range(FRAMES)])
        off[degrees] = float((found.vertices - truth).norm(dim=-1).mean()) / 200
    assert off[75] < 0.03
    assert off[75] < 0.7 * off[40]


def test_the_camera_sees_the_mesh_where_the_video_shows_it(case: Path, moved: Path) -> None:
    recorded = read_cameras(moved / CAMERAS)
    assert recorded.cameras.fov == pytest.approx(DEFAULT_FOV)
    found = read_animation(moved / "output_animation.glb", times=np.arange(FRAMES) / recorded.fps)
    for step in range(FRAMES):
        scale = 1 / 200  # into the renderer's reach
        camera = Camera(recorded.cameras.extrinsics[step : step + 1].clone(), recorded.cameras.fov)
        camera.extrinsics[:, :3, 3] *= scale
        seen = render_mesh(found[step].with_vertices(found.vertices[step] * scale), camera, SIDE, channels=("mask",))
        ours = seen.mask[0, ..., 0].numpy() > 0.5
        theirs = iio.imread(case / "swing" / f"{step}.png")[..., 3] > 127
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.93


@pytest.mark.skipif(not gltf_validator.is_installed(), reason=gltf_validator.MISSING)
def test_the_validator_finds_nothing_in_any_file(moved: Path) -> None:
    paths = sorted(moved.rglob("*.glb"))
    assert {"output_animation.glb", "output_mesh.glb"} <= {path.name for path in paths}
    assert gltf_validator.errors_and_warnings(paths) == {}


def test_what_was_done_is_told_and_kept(case: Path, moved: Path) -> None:
    manifest = json.loads((moved / "manifest.json").read_text())
    assert list(manifest["stages"]) == ["frames", "generation", "camera_search", "registration", "export"]
    assert all(entry["state"] == "done" for entry in manifest["stages"].values())
    assert len(manifest["motion"]["iou"]) == FRAMES
    assert manifest["motion"]["lost"] == manifest["motion"]["lost_parts"] == {}
    assert manifest["learned_parts"]["generator"] == "none (a user mesh)"
    assert manifest["motion"]["mean_iou"] > 0.93
    for name in (
        "3_registration/driven.npz",
        "3_registration/motion.png",
        "2_camera_search/0.png",
        "output_mesh.glb",
        "1_rmbg.png",
        "report.html",
    ):
        assert (moved / name).is_file(), name
    records = ("manifest.json", ".manifest.backup.json")
    times = {file: file.stat().st_mtime_ns for file in moved.rglob("*.*") if file.name not in records}
    assert run(case, moved.parent) == 0
    again = {file: file.stat().st_mtime_ns for file in moved.rglob("*.*") if file.name not in records}
    changed = {file.name for file in times if times[file] != again[file]}
    assert changed <= {"contact_sheet.png", "report.html"}
    assert manifest["figures"]["mean_iou"] == pytest.approx(manifest["motion"]["mean_iou"], abs=0.04)


def test_the_point_tracker_counts_for_what_is_stale() -> None:
    tracked = replace(FAST, use_tracking=True, registration=replace(FAST.registration, tracker="flow"))
    fewer = replace(tracked, registration=replace(tracked.registration, tracked_points=7))
    unused = replace(FAST, registration=replace(FAST.registration, tracked_points=7))
    assert len({stage._point_tracker_key(config) for config in (FAST, tracked, fewer)}) == 3
    assert stage._point_tracker_key(unused) == stage._point_tracker_key(FAST)


def test_the_same_seed_gives_the_same_bytes(case: Path, moved: Path, tmp_path: Path) -> None:
    assert run(case, tmp_path) == 0
    assert (tmp_path / "swing" / "output_animation.glb").read_bytes() == (moved / "output_animation.glb").read_bytes()


FLAT = torch.tensor([[-0.5, -0.4, 0.0], [0.5, -0.4, 0.0], [0.4, 0.4, 0.0], [-0.3, 0.4, 0.0]])


@pytest.mark.parametrize(
    ("faces", "colors", "yaw", "place"),
    [
        ([[0, 1, 2]], None, 0.4, (0.0, 0.0, 0.0)),  # one triangle, as white as a file without a material
        ([[0, 1, 2], [0, 2, 3]], (0.0, 0.0, 0.0), 0.4, (5e5, 6e6, 30.0)),  # a black sheet in UTM coordinates
        ([[0, 1, 2], [0, 2, 3]], (0.2, 0.7, 0.3), np.pi - 0.4, (0.0, 0.0, 0.0)),  # seen from behind
    ],
    ids=["triangle", "black and far away", "from behind"],
)
def test_a_mesh_of_few_faces_moves(
    tmp_path: Path, faces: list[list[int]], colors: tuple[float, ...] | None, yaw: float, place: tuple[float, ...]
) -> None:
    corners = FLAT.double().numpy() + np.array(place)
    shade = "" if colors is None else " {} {} {}".format(*colors)
    lines = ["v {:.6f} {:.6f} {:.6f}".format(*corner) + shade for corner in corners]
    lines += ["f {} {} {}".format(*(corner + 1 for corner in face)) for face in faces]
    (tmp_path / "sheet.obj").write_text("\n".join(lines))
    extrinsics = Orbit.of(yaw=yaw, pitch=0.2, radius=2.2).camera().extrinsics[0]
    sheet = Mesh(FLAT, torch.tensor(faces), colors=torch.tensor(colors or (1.0, 1.0, 1.0)).expand(4, 3))
    (tmp_path / "clip").mkdir()
    for step in range(3):
        angle = torch.tensor(0.12 * step)
        turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
        seen = (FLAT @ turn.T) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
        picture = render_mesh(sheet.with_vertices(seen), Camera.identity(), 96, channels=("color", "mask"))
        mask = picture.mask[0].clamp(0, 1)
        rgba = torch.cat([picture.color[0] / mask.clamp_min(1e-6), mask], -1).clamp(0, 1)
        iio.imwrite(tmp_path / "clip" / f"{step}.png", (255 * rgba).round().to(torch.uint8).numpy())
    case = ["--mesh", str(tmp_path / "sheet.obj"), "--video", str(tmp_path / "clip"), "--output", str(tmp_path / "out")]
    assert (
        main.main(
            [
                *case,
                *QUICK,
                "--search.refine_steps",
                "8",
                "--drive.nodes",
                "12",
                "--max_faces",
                "400",
                "--frames.foreground",
                "alpha",
            ]
        )
        == 0
    )
    result = tmp_path / "out" / "clip"
    recorded = read_cameras(result / CAMERAS)
    times = np.arange(3) / recorded.fps
    found = read_animation(result / "output_animation.glb", times=times, origin=recorded.origin).vertices
    assert bool(found.isfinite().all())
    in_camera = found @ recorded.cameras.extrinsics[0, :3, :3].T + recorded.cameras.extrinsics[0, :3, 3]
    pixels = torch.stack([Camera.identity().project(pose, (96, 96))[0][0] for pose in in_camera])
    turned = (pixels[2] - pixels[0])[found[0].argmax(0)[0]].norm()  # of the corner that is farthest along x
    assert 5 < turned < 20
    assert json.loads((result / "manifest.json").read_text())["motion"]["least_iou"] > 0.9


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--mesh", "club.fbx"], "FBX is read through Blender; give --blender_path"),
        (["--delight"], "--delight changes the texture that stage 4 solves for; with --mesh there is none"),
    ],
)
def test_bad_usage_exits_with_two(
    case: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    (tmp_path / "club.fbx").write_bytes(b"Kaydara FBX Binary")
    monkeypatch.setattr(formats, "find_blender", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert run(case, tmp_path / "out", *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
