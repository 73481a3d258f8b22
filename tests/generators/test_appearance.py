"""Meshes made anew once their cameras are known: posed as before, kept on disk, redone when stale, left alone."""

from dataclasses import replace

import imageio.v3 as iio
import pytest
import torch

import generators
from generators import base
from v2m4.camera import Orbit
from v2m4.config import FAST, PAPER
from v2m4.mesh import Mesh, PosedAsset
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace

CONFIG = replace(FAST, model="Repainting")
MADE = []


def figure_mesh(shapes, green):
    vertices, faces = shapes.figure()
    mesh = Mesh(torch.from_numpy(vertices), torch.from_numpy(faces))
    return replace(mesh, colors=torch.tensor([0.2, green, 0.1]).expand(len(vertices), 3).clone())


@pytest.fixture
def clip(shapes, monkeypatch):
    """Two frames, their posed meshes, and a generator whose new mesh has more green; it notes what it is asked."""
    MADE.clear()

    class Repainting:
        name = "Repainting"
        version = "weights"

        def __init__(self, config):
            pass

        def generate(self, frame):
            pytest.fail("not asked for")

        def refine(self, frame, camera, terms=()):
            MADE.append((frame.name, camera, list(terms)))
            return figure_mesh(shapes, 0.9)

    monkeypatch.setitem(base._FACTORIES, "Repainting", Repainting)
    frames = [shapes.frame_of(shapes.disc((48, 64), (30 + index, 24), 15), str(index)) for index in range(2)]
    frames = [replace(frame, index=index) for index, frame in enumerate(frames)]
    posed = []
    for index in range(2):
        extrinsics = Orbit.of(yaw=0.3 + index, pitch=0.2, radius=2.5).camera().extrinsics[0]
        bare = PosedAsset(figure_mesh(shapes, 0.1), extrinsics, 1.0 - 0.2 * index, 0.7)
        posed.append(replace(bare, mesh=bare.mesh.transformed(bare.matrix())))
    return Repainting, frames, posed


def test_refined_mesh_has_the_pose_of_the_posed_one(clip, tmp_path):
    _, frames, posed = clip
    refined = generators.refine(frames, posed, Workspace(tmp_path), CONFIG)
    for before, after, frame, (name, camera, terms) in zip(posed, refined, frames, MADE, strict=True):
        assert torch.allclose(after.mesh.vertices, before.mesh.vertices, atol=1e-6)
        assert (after.mesh.colors[:, 1] == 0.9).all()
        assert (after.scale, after.score) == (before.scale, before.score)
        assert torch.equal(after.extrinsics, before.extrinsics)
        assert name == frame.name and camera.aspect == frame.aspect and terms == []
        assert torch.equal(camera.extrinsics[0], before.extrinsics)
        sheet = iio.imread(tmp_path / f"1_generation/{frame.name}_refined.png")
        assert sheet.shape == (384, 3 * 512, 3)
        views = sheet[:, 512:1024].astype(int), sheet[:, 1024:].astype(int)
        green = [(view[..., 1] > view[..., 2] + 50).sum() for view in views]
        assert green[1] > 1000 > green[0]  # the mesh before is dark, the one after is green


def test_a_second_run_refines_stale_meshes_only(clip, tmp_path, monkeypatch):
    kind, frames, posed = clip
    first = generators.refine(frames, posed, Workspace(tmp_path), CONFIG)
    again = generators.refine(frames, posed, Workspace(tmp_path), CONFIG)
    assert len(MADE) == 2 and torch.equal(first[1].mesh.colors, again[1].mesh.colors)
    moved = [replace(posed[0], extrinsics=posed[1].extrinsics), posed[1]]
    generators.refine(frames, moved, Workspace(tmp_path), CONFIG)
    assert [name for name, *_ in MADE[2:]] == ["0"]
    generators.refine(frames, posed, Workspace(tmp_path), replace(CONFIG, seed=7))
    assert len(MADE) == 5
    monkeypatch.setattr(kind, "version", "other weights")
    generators.refine(frames, posed, Workspace(tmp_path), replace(CONFIG, seed=7))
    assert len(MADE) == 7
    deeper = [replace(pose, scale=0.5) for pose in posed]  # the picture is the same
    generators.refine(frames, deeper, Workspace(tmp_path), replace(CONFIG, seed=7))
    assert len(MADE) == 7


def test_posed_meshes_are_returned_without_refinement(clip, tmp_path):
    _, frames, posed = clip
    off = replace(CONFIG, generation=replace(CONFIG.generation, refine="no"))
    assert generators.refine(frames, posed, Workspace(tmp_path), off) is posed
    assert generators.refine(frames, posed, Workspace(tmp_path), replace(CONFIG, model="Inflate")) is posed
    assert MADE == [] and not (tmp_path / "1_generation").exists()
    assert PAPER.generation.refine != "no"
    with pytest.raises(ValueError, match="1 meshes for 2 frames"):
        generators.refine(frames, posed[:1], Workspace(tmp_path), CONFIG)


def test_learned_terms_are_dreamsim_and_lpips(clip, tmp_path, monkeypatch):
    class Alike(torch.nn.Module):
        def embed(self, pictures):
            assert pictures.shape[1:] == (3, 224, 224)
            return pictures.mean((2, 3))

    class Close(torch.nn.Module):
        """LPIPS 0.1.4: pictures in [-1, 1] to a map (B, 1, H, W)."""

        def forward(self, in0, in1):
            assert in0.shape == in1.shape == (1, 3, 32, 32) and min(in0.min(), in1.min()) == -1
            return (in0 - in1).square().mean(1, keepdim=True)

    _, frames, posed = clip
    config = replace(CONFIG, generation=replace(CONFIG.generation, refine="networks"))
    with pytest.raises(Unavailable, match="dreamsim"):
        generators.refine(frames, posed, Workspace(tmp_path), config)
    monkeypatch.setattr("v2m4.dreamsim.check", lambda config: None)
    monkeypatch.setattr("v2m4.dreamsim.load", lambda folder, device: Alike())
    monkeypatch.setattr("v2m4.lpips.load", lambda config, device: Close())
    generators.refine(frames, posed, Workspace(tmp_path), config)
    by_dreamsim, by_lpips = MADE[0][2]
    red = torch.tensor([1.0, 0, 0]).expand(32, 32, 3)
    mixed = torch.tensor([1.0, 1.0, 0]).expand(32, 32, 3)
    for term, wanted in ((by_dreamsim, 1 - 2**-0.5), (by_lpips, 4 / 3)):
        render = mixed.clone().requires_grad_()
        assert term(red, red).abs() < 1e-6
        found = term(render, red)
        assert found.item() == pytest.approx(wanted, abs=1e-5)
        found.backward()
        assert render.grad[..., 1].mean() > 0
