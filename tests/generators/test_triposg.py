"""TripoSG through its contract: the owner's signatures at fc5c409, with a figure in place of the network's volume."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

import generators
from generators import GenerationError
from v2m4.config import FAST
from v2m4.preflight import generators as needs
from v2m4.weights import Unavailable

FOLDER = "VAST-AI/TripoSG"


class FakeTripoSGPipeline:
    """TripoSGPipeline as the adapter calls it."""

    calls: ClassVar[list[dict]] = []
    surface: tuple | None = None
    model_cpu_offload_seq = None

    @classmethod
    def from_pretrained(cls, path, torch_dtype=None):
        cls.calls.append({"path": path, "dtype": torch_dtype})
        return cls()

    def to(self, device):
        self.calls.append({"to": str(device)})

    def enable_model_cpu_offload(self, gpu_id=None, device="cuda"):
        assert self.model_cpu_offload_seq == "image_encoder_dinov2->transformer->vae"
        self.calls.append({"offload": str(device)})

    def set_progress_bar_config(self, disable):
        assert disable

    def __call__(
        self,
        image,
        num_inference_steps=50,
        num_tokens=2048,
        guidance_scale=7.0,
        generator=None,
        flash_octree_depth=9,
        use_flash_decoder=True,
    ):
        self.calls.append({"image": image, "seed": generator.initial_seed(), "depth": flash_octree_depth})
        if self.surface is None:
            return None.astype(np.float32)  # the owner's way to say that there is no surface
        return SimpleNamespace(samples=[self.surface])


@pytest.fixture
def fake(monkeypatch, shapes, tmp_path):
    for name in ("triposg", "triposg.pipelines", "diso"):
        shapes.fake_module(monkeypatch, name)
    shapes.fake_module(monkeypatch, "triposg.pipelines.pipeline_triposg", TripoSGPipeline=FakeTripoSGPipeline)
    monkeypatch.setattr(FakeTripoSGPipeline, "calls", [])
    monkeypatch.setattr(FakeTripoSGPipeline, "surface", shapes.figure())
    for part in needs.TRIPOSG_PARTS:
        (tmp_path / FOLDER / part).mkdir(parents=True)
    (tmp_path / FOLDER / "model_index.json").write_text("{}")
    generation = replace(FAST.generation, paint="none", resolution=128)
    return replace(FAST, model="TripoSG", device="cpu", weights_dir=tmp_path, generation=generation)


@pytest.fixture
def frame(shapes):
    return shapes.frame_of(shapes.disc((64, 64), (32, 32), 20), "2")


@pytest.mark.parametrize("low_vram", [False, True])
def test_mesh_is_in_canonical_pose(fake, frame, shapes, monkeypatch, low_vram):
    monkeypatch.setattr(needs, "check", lambda name, config: None)
    mesh = generators.create("TripoSG", replace(fake, low_vram=low_vram)).generate(frame).mesh
    shapes.assert_upright(mesh)
    loaded, placed, called = FakeTripoSGPipeline.calls
    assert loaded["path"] == str((fake.weights_dir / FOLDER).resolve())
    assert placed == ({"offload": "cpu"} if low_vram else {"to": "cpu"})
    assert called["seed"] == 42 and called["depth"] == 7 and called["image"].mode == "RGB"
    assert np.asarray(called["image"])[0, 0].tolist() == [255, 255, 255]  # on white, as the owner prepares it


def test_no_surface_is_an_error_and_other_errors_are_raised(fake, frame, monkeypatch):
    monkeypatch.setattr(needs, "check", lambda name, config: None)
    monkeypatch.setattr(FakeTripoSGPipeline, "surface", None)
    with pytest.raises(GenerationError, match="TripoSG found no surface"):
        generators.create("TripoSG", fake).generate(frame)
    monkeypatch.setattr(FakeTripoSGPipeline, "__call__", lambda self, **options: torch.zeros(1).no_such_thing)
    with pytest.raises(AttributeError, match="no_such_thing"):
        generators.create("TripoSG", fake).generate(frame)


def test_missing_requirements_are_errors_before_any_work(fake, monkeypatch):
    with pytest.raises(Unavailable, match="needs a GPU"):
        needs.require(fake)
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    needs.require(fake)
    painted = replace(fake, generation=replace(fake.generation, paint="network"))
    with pytest.raises(Unavailable, match=r"mvadapter is not installed.*MV-Adapter@4277e00.*paint none"):
        needs.require(painted)
    (fake.weights_dir / FOLDER / "model_index.json").unlink()
    with pytest.raises(Unavailable, match=r"weights of VAST-AI/TripoSG are missing: put model_index\.json"):
        needs.require(fake)
    assert FakeTripoSGPipeline.calls == []
