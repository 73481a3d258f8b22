"""The owners' network, where checkouts of their code are at hand, with PyTorch's attention in place of xformers'.

``MOTION324_CODE`` names a checkout of Inception3D/Motion324, ``DINOV2_CODE`` one of facebookresearch/dinov2; packages
einops and easydict are needed. Their code is run, and is no part of this project.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from motion324.config import MotionConfig


def _attention(query: Any, key: Any, value: Any, attn_bias: Any = None, p: float = 0.0, op: Any = None) -> Any:
    parts = (part.transpose(1, 2) for part in (query, key, value))
    return nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2)


def _xformers() -> dict[str, ModuleType]:
    root, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.memory_efficient_attention = _attention  # type: ignore[attr-defined]
    ops.fmha = SimpleNamespace(flash=SimpleNamespace(FwOp=None, BwOp=None))  # type: ignore[attr-defined]
    root.ops = ops  # type: ignore[attr-defined]
    return {"xformers": root, "xformers.ops": ops}


@contextmanager
def owners_packages() -> Iterator[Path]:
    """Context in which their packages can be imported; skips the test where they are not at hand."""
    places = {}
    for name in ("MOTION324_CODE", "DINOV2_CODE"):
        if not os.environ.get(name):
            pytest.skip(f"{name} is not set")
        places[name] = Path(os.environ[name])
    for package in ("einops", "easydict", "transformers"):
        pytest.importorskip(package)
    before = dict(sys.modules)
    with patch.object(sys, "path", [*map(str, places.values()), *sys.path]), patch.dict(sys.modules, _xformers()):
        os.environ["XFORMERS_DISABLED"] = "1"  # read by DINOv2
        try:
            yield places["DINOV2_CODE"]
        finally:
            del os.environ["XFORMERS_DISABLED"]
            for name in set(sys.modules) - set(before):
                if name.split(".")[0] in {"model", "dinov2"}:
                    del sys.modules[name]


def owners_network(config: MotionConfig) -> nn.Module:
    """Their network with random weights, for the published sizes of the image encoder."""
    with owners_packages() as dinov2:
        from easydict import EasyDict

        hub = torch.hub.load

        def load(repository: str, name: str, **_: Any) -> Any:
            assert repository == "facebookresearch/dinov2"
            return hub(str(dinov2), name, source="local", pretrained=False)

        options = EasyDict(
            model={
                "feat_dim": config.width,
                "tokens": config.latents,
                "pcd_layers": config.surface_layers,
                "video_encoder": {
                    "image_tokenizer": {"image_size": config.image_size, "patch_size": config.patch, "patch_length": 1},
                    "transformer": {
                        "d": config.width,
                        "d_head": config.head_width,
                        "n_layer": config.video_layers,
                        "use_qk_norm": True,
                    },
                },
            },
            training={
                "frames": config.window,
                "use_checkpoint": False,
                "grad_checkpoint_every": 1,
                "coord_mse_loss_weight": 1.0,
            },
        )
        with patch.object(torch.hub, "load", load):
            from model.Pcd_motion import Motion_Latent_Model  # type: ignore[import-not-found]

            return Motion_Latent_Model(options)
