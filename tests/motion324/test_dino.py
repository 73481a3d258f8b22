"""DINOv2 as the image encoder: without its package, from a folder of weights, frozen."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motion324 import dino
from motion324.config import MotionConfig, preset
from motion324.network import MotionNetwork
from v2m4 import weights
from v2m4.config import Config
from v2m4.weights import Unavailable

SMALL = replace(
    preset("base"), width=48, head_width=16, latents=6, surface_layers=1, video_layers=2, image_width=32,
    image_layers=2, image_heads=2, image_size=28,
)  # fmt: skip


def encoder(config: MotionConfig = SMALL) -> dino.DinoEncoder:
    pytest.importorskip("transformers")
    return dino.DinoEncoder(config)


def published(folder: Path) -> torch.nn.Module:
    """A small DINOv2 for pictures of 84 pixels, random weights, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    made = transformers.Dinov2Model(
        transformers.Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=84, patch_size=14
        )
    )
    made.save_pretrained(folder)
    return made.eval()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "installed", lambda module: False)
    with pytest.raises(Unavailable, match=r'transformers is not installed; pip install "transformers'):
        MotionNetwork(preset("base"))


def test_encoder_is_frozen_and_gives_patch_tokens() -> None:
    made = encoder().train()
    tokens = made(torch.rand(2, 3, 40, 50))
    assert tokens.shape == (2, 4, 32) and not tokens.requires_grad
    assert not made.training and not made.network.training
    assert not any(value.requires_grad for value in made.parameters())


def test_published_weights_are_read_from_the_folder(tmp_path: Path) -> None:
    theirs = published(tmp_path / "facebook" / "dinov2-base")
    made = encoder()
    made.load_pretrained(replace(Config(), weights_dir=tmp_path))
    state, expected = made.network.state_dict(), theirs.state_dict()
    table = "embeddings.position_embeddings"
    assert torch.equal(state[table], dino.resample_positions(expected[table], 2))
    assert all(torch.equal(state[name], value) for name, value in expected.items() if name != table)


def test_weights_of_another_size_and_no_weights_are_errors(tmp_path: Path) -> None:
    published(tmp_path / "facebook" / "dinov2-base")
    with pytest.raises(ValueError, match="not DINOv2 of the configured size"):
        encoder(replace(SMALL, image_width=64)).load_pretrained(replace(Config(), weights_dir=tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match=r"weights of facebook/dinov2-base are missing: put config\.json"):
        encoder().load_pretrained(replace(Config(), weights_dir=tmp_path / "empty"))
