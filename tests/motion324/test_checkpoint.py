"""Checkpoints: ours come back, the released one's names and shapes fit, and it gives the owners' trajectories."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion324 import network as network_module
from motion324.checkpoint import load_network, load_state, read_notes, save_network
from motion324.config import MotionConfig, preset
from motion324.dino import PREFIX, from_transformers, has_names_of_version_5, resample_positions, to_transformers
from motion324.embedding import SurfacePoints
from motion324.image_encoder import ImageEncoder
from motion324.network import MotionNetwork
from motion324.owners_checkpoint import convert
from tests.motion324.owners_network import owners_network

SMALL = replace(
    preset("patches"), width=48, head_width=16, latents=6, surface_layers=1, video_layers=2, image_width=36,
    image_layers=1, image_heads=3, image_size=28,
)  # fmt: skip


def owners_state() -> dict[str, Tensor]:
    """Names and shapes of the state dict of the owners' class, base configuration, written down; without memory."""
    listed = json.loads((Path(__file__).parent / "owners_parameters.json").read_text())["owners"]
    names = [(name.replace("#", str(layer)), shape) for name, shape, count in listed for layer in range(count)]
    return {name: torch.empty(shape, device="meta") for name, shape in names}


@pytest.fixture
def without_dino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_module, "_image_encoder", ImageEncoder)


def test_own_checkpoint_comes_back(tmp_path: Path) -> None:
    made = MotionNetwork(SMALL)
    save_network(tmp_path / "a.safetensors", made, {"trained on": "nothing"})
    read = load_network(tmp_path / "a.safetensors")
    assert read.config == SMALL and not read.training
    assert all(torch.equal(value, read.state_dict()[name]) for name, value in made.state_dict().items())
    assert read_notes(tmp_path / "a.safetensors")["trained on"] == "nothing"
    save_network(tmp_path / "b.safetensors", made, half=True)
    error = load_network(tmp_path / "b.safetensors").latent_queries - made.latent_queries
    assert 0 < error.abs().max() < 2e-3


def test_names_and_shapes_of_the_released_network_fit(without_dino: None) -> None:
    config, state = convert(owners_state())
    assert config == preset("base")
    with torch.device("meta"):
        wanted = MotionNetwork(config).state_dict()
    own = {name: tuple(value.shape) for name, value in state.items() if not name.startswith(PREFIX)}
    assert own == {name: tuple(value.shape) for name, value in wanted.items()}


@pytest.mark.parametrize("version_5", [False, True])
def test_names_of_dino_fit_both_versions_of_transformers(version_5: bool) -> None:
    _, state = convert(owners_state())
    dino = {name[len(PREFIX) :]: value for name, value in state.items() if name.startswith(PREFIX)}
    renamed = to_transformers(dino, version_5)
    assert has_names_of_version_5(renamed) == version_5
    attention = ("attention.q_proj", "attention.o_proj") if version_5 else (
        "attention.attention.query", "attention.output.dense",
    )  # fmt: skip
    for name in attention:
        assert renamed[f"encoder.layer.11.{name}.weight"].shape == (768, 768)
    assert renamed["embeddings.position_embeddings"].shape == (1, 257, 768)
    back = from_transformers(renamed)
    assert {name: value.shape for name, value in back.items()} == {name: value.shape for name, value in dino.items()}


def test_names_are_those_of_the_installed_transformers() -> None:
    pytest.importorskip("transformers")
    config, state = convert(owners_state())
    with torch.device("meta"):
        made = MotionNetwork(config)
    load_state(made, state, "names")  # raises where they do not fit


def test_values_of_joined_projections_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        f"blocks.0.attn.{name}": torch.randn(shape, generator=generator)
        for name, shape in {"qkv.weight": (12, 4), "qkv.bias": (12,), "proj.weight": (4, 4)}.items()
    }
    for version_5 in (False, True):
        back = from_transformers(to_transformers(state, version_5))
        assert all(torch.equal(back[name], value) for name, value in state.items())


def test_positions_are_resampled_with_the_owners_offset() -> None:
    side = torch.arange(37.0)
    table = torch.cat([torch.tensor([7.0]), (side[:, None] + 0 * side).flatten()]).reshape(1, -1, 1)
    rows = resample_positions(table, 16)[0, 1:, 0].reshape(16, 16)
    assert resample_positions(table, 16)[0, 0, 0] == 7
    inner = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    assert torch.allclose(rows[1:-1, 3], inner[1:-1], atol=0.05)
    assert torch.equal(resample_positions(table, 37), table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("learnable_tokens"), "no parameter latent_queries"),
        (
            lambda state: state.update({"extra.weight": torch.zeros(1)}),
            "not a parameter of Motion 3-to-4: extra.weight",
        ),
        (
            lambda state: state.update({"global_transformer_blocks.0.norm9.weight": torch.zeros(1)}),
            "not a parameter of Motion 3-to-4: global_transformer_blocks.0.norm9.weight",
        ),
    ],
)
def test_other_state_dicts_are_refused(change, message: str) -> None:
    state = owners_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        convert(state)


def test_missing_and_wrong_parameters_are_named() -> None:
    made = MotionNetwork(SMALL)
    state = dict(made.state_dict())
    del state["head.0.bias"]
    state["latent_queries"] = torch.zeros(1, 2, 3)
    with pytest.raises(
        ValueError, match=r"x: the checkpoint does not fit the network: head.0.bias is missing, 2 in all"
    ):
        load_state(made, state, "x")


def test_files_that_are_no_checkpoint_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"hello, this is text")
    with pytest.raises(ValueError, match=r"a\.pt: not a safetensors file"):
        load_network(tmp_path / "a.pt")
    torch.save({"weights": 1}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt: not a checkpoint of Motion 3-to-4: it holds no 'model'"):
        load_network(tmp_path / "b.pt")
    torch.save({"model": Path("x")}, tmp_path / "c.pt")  # a pickle that runs code
    with pytest.raises(ValueError, match=r"c\.pt: not a checkpoint of tensors"):
        load_network(tmp_path / "c.pt")


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 3])
def test_same_weights_give_the_owners_trajectories(tmp_path: Path, frames: int) -> None:
    config = replace(MotionConfig(), surface_layers=2, video_layers=4)
    torch.manual_seed(0)
    theirs = owners_network(config)
    theirs.eval()  # returns None
    with torch.no_grad():
        for value in theirs.parameters():
            if value.ndim == 1:  # norms and biases, which start at one and zero
                value.add_(0.1 * torch.randn_like(value))
    torch.save({"model": theirs.state_dict(), "param_update_step": 60000}, tmp_path / "ckpt.pt")
    ours = load_network(tmp_path / "ckpt.pt")
    assert ours.config == config

    def points(count: int) -> SurfacePoints:
        normals = torch.nn.functional.normalize(torch.randn(2, count, 3), dim=-1)
        return SurfacePoints(torch.rand(2, count, 3) - 0.5, normals, torch.rand(2, count, 3))

    shape, queries, video = points(300), points(200), torch.rand(2, frames, 3, 96, 128)
    sample = {
        "ref_shape_pcd": shape.points, "ref_shape_normals": shape.normals, "ref_shape_rgbs": shape.colors,
        "ref_pcd": queries.points, "ref_normal": queries.normals, "ref_rgb": queries.colors,
        "rgb_video": video.permute(0, 1, 3, 4, 2),
    }  # fmt: skip
    with torch.no_grad():
        expected, got = theirs(sample).pcd_moved, ours(shape, video, queries)
    assert expected.std() > 0.05
    assert torch.allclose(got, expected, atol=1e-4)
    save_network(tmp_path / "own.safetensors", ours)
    with torch.no_grad():
        assert torch.equal(load_network(tmp_path / "own.safetensors")(shape, video, queries), got)
