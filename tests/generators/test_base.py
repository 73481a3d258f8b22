"""The registry, and stage 1 in a workspace: what is written, kept and redone."""

from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import generators
from generators import base
from v2m4.camera import Orbit
from v2m4.config import FAST
from v2m4.mesh import Asset, Mesh
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace

CONFIG = replace(FAST, model="Inflate", max_faces=600, generation=replace(FAST.generation, grid=48, texture_size=64))


@pytest.fixture
def frames(shapes):
    return [
        shapes.frame_of(shapes.disc((96, 96), (40, 48), 30), "0"),
        replace(shapes.frame_of(shapes.strip((96, 96), (20, 20), (70, 75), 10), "5"), index=5),
    ]


def files(workspace):
    return {path.relative_to(workspace.root).as_posix() for path in workspace.root.rglob("*") if path.is_file()}


def test_run_writes_its_files_and_returns_their_contents(tmp_path, frames):
    workspace = Workspace(tmp_path / "clip")
    assets = generators.run(frames, workspace, CONFIG)
    expected = {"manifest.json"}
    expected |= {f"1_generation/{name}" for name in ("0.npz", "5.npz", "0_preview.png", "5_preview.png")}
    assert files(workspace) == expected
    direct = generators.create("Inflate", CONFIG).generate(frames[1])
    assert torch.equal(assets[1].mesh.vertices, direct.mesh.vertices)
    assert torch.equal(assets[1].hint.parameters(), direct.hint.parameters())
    preview = iio.imread(tmp_path / "clip" / "1_generation" / "0_preview.png")
    assert preview.shape == (512, 6 * 256, 3)
    assert (preview[:256].reshape(256, 6, 256, 3) < 250).any((0, 2, 3)).all()  # something to see in every view


def test_field_of_view_changes_the_mesh(tmp_path, frames):
    usual = generators.run(frames, Workspace(tmp_path / "clip"), CONFIG)
    wide = generators.run([replace(frame, fov=1.3) for frame in frames], Workspace(tmp_path / "clip"), CONFIG)
    assert wide[0].hint.radius < 0.7 * usual[0].hint.radius


def test_the_baseline_writes_a_glb_for_every_frame(tmp_path, frames):
    from v2m4.io.gltf import read_glb

    workspace = Workspace(tmp_path / "clip")
    assets = generators.run(frames, workspace, replace(CONFIG, baseline=True))
    for frame, asset in zip(frames, assets, strict=True):
        read = read_glb(workspace.path(f"{frame.name}_baseline_sample.glb"))
        assert len(read.faces) == len(asset.mesh.faces)
        assert torch.allclose(read.vertices.amax(0), asset.mesh.vertices.amax(0), atol=1e-4)


def test_a_second_run_generates_stale_assets_only(tmp_path, frames, monkeypatch):
    made = []

    class Counting:
        name = "Counting"

        def __init__(self, config):
            self.faces = config.max_faces

        def generate(self, frame):
            made.append(frame.name)
            triangle = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]]) * len(made)
            return Asset(Mesh(triangle, torch.tensor([[0, 1, 2]])), None)

    monkeypatch.setitem(base._FACTORIES, "Counting", Counting)
    config = replace(CONFIG, model="Counting")
    first = generators.run(frames, Workspace(tmp_path / "clip"), config)
    again = generators.run(frames, Workspace(tmp_path / "clip"), config)
    assert made == ["0", "5"]
    assert torch.equal(first[1].mesh.vertices, again[1].mesh.vertices) and again[1].hint is None
    changed = frames[0].rgba.copy()
    changed[40, 40, 0] ^= 1
    generators.run([replace(frames[0], picture=changed), frames[1]], Workspace(tmp_path / "clip"), config)
    assert made == ["0", "5", "0"]
    generators.run(frames[1:], Workspace(tmp_path / "clip"), replace(config, max_faces=700))
    assert made == ["0", "5", "0", "5"]


def test_refinement_options_do_not_make_assets_stale(tmp_path, frames):
    workspace = Workspace(tmp_path / "clip")
    generators.run(frames[:1], workspace, CONFIG)
    before = workspace.manifest["artefacts"]["1_generation/0.npz"]
    generators.run(frames[:1], workspace, replace(CONFIG, generation=replace(CONFIG.generation, refine="no")))
    assert workspace.manifest["artefacts"]["1_generation/0.npz"] == before


def test_other_weights_make_an_asset_stale(tmp_path, frames, monkeypatch):
    made = []

    class Weighted:
        name = "Weighted"
        version = "first weights"

        def __init__(self, config):
            pass

        def generate(self, frame):
            made.append(frame.name)
            return Asset(Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])), None)

    monkeypatch.setitem(base._FACTORIES, "Weighted", Weighted)
    config = replace(CONFIG, model="Weighted")
    for version in ("first weights", "first weights", "second weights"):
        monkeypatch.setattr(Weighted, "version", version)
        generators.run(frames[:1], Workspace(tmp_path / "clip"), config)
    assert made == ["0", "0"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(Unavailable, match="Inflate, Hunyuan"):
        generators.create("Nonsense", CONFIG)


def test_arrays_round_trip_exactly(shapes):
    asset = generators.create("Inflate", CONFIG).generate(shapes.frame_of(shapes.disc((64, 64), (32, 30), 20)))
    back = base.from_arrays(base.to_arrays(asset))
    assert all(np.array_equal(value, back.mesh.arrays()[name]) for name, value in asset.mesh.arrays().items())
    assert torch.equal(back.hint.parameters(), asset.hint.parameters())
    assert isinstance(back.hint, Orbit)


def test_assets_are_read_when_they_are_asked_for(tmp_path, frames, monkeypatch):
    kept = generators.run(frames, Workspace(tmp_path / "clip"), CONFIG)
    monkeypatch.setattr(base, "KEPT_BYTES", 1)
    read = generators.run(frames, Workspace(tmp_path / "clip"), CONFIG)
    assert kept.kept_bytes == sum(asset.mesh.nbytes for asset in kept) and read.kept_bytes == 0
    for first, second in zip(kept, read, strict=True):
        assert first.mesh.arrays().keys() == second.mesh.arrays().keys()
        for name, array in first.mesh.arrays().items():
            np.testing.assert_array_equal(array, second.mesh.arrays()[name])
        assert torch.equal(first.hint.parameters(), second.hint.parameters())
