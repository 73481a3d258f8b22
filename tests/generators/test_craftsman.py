"""CraftsMan3D through its contract: the owner's signatures at 1626675, with a figure in place of the volume."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import yaml

import generators
from v2m4.config import FAST
from v2m4.preflight import generators as needs
from v2m4.weights import Unavailable

FOLDER = "craftsman3d/craftsman-DoraVAE"
ENCODER = "facebook/dinov2-with-registers-large"


class FakeCraftsmanPipeline:
    """CraftsManPipeline as the adapter calls it."""

    calls: ClassVar[list[dict]] = []
    surface: tuple | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        # transformers reads the encoder's configuration from a path of the repository's name, if there is one
        cls.calls.append({"path": pretrained_model_name_or_path, "encoder": Path(ENCODER).is_dir()} | kwargs)
        return cls()

    def __call__(
        self,
        image,
        num_inference_steps=50,
        guidance_scale=7.5,
        output_type="trimesh",
        seed=None,
        mc_depth=8,
    ):
        print("extract_mesh time")
        self.calls.append({"image": image, "output": output_type, "depth": mc_depth, "noise": torch.rand(1).item()})
        return SimpleNamespace(meshes=[self.surface])


@pytest.fixture
def fake(monkeypatch, shapes, tmp_path):
    shapes.fake_module(monkeypatch, "craftsman", CraftsManPipeline=FakeCraftsmanPipeline)
    monkeypatch.setattr(FakeCraftsmanPipeline, "calls", [])
    monkeypatch.setattr(FakeCraftsmanPipeline, "surface", shapes.figure())
    (tmp_path / FOLDER).mkdir(parents=True)
    settings = {"system": {"condition_model": {"dino_type": ENCODER.removeprefix("facebook/")}}}
    (tmp_path / FOLDER / "config.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / FOLDER / "model.ckpt").write_bytes(b"")
    (tmp_path / ENCODER).mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / ENCODER / name).write_text("{}")
    generation = replace(FAST.generation, paint="none")
    return replace(FAST, model="Craftsman", device="cpu", weights_dir=tmp_path, generation=generation)


def test_mesh_is_in_canonical_pose(fake, shapes, capsys):
    frame = shapes.frame_of(shapes.disc((64, 64), (32, 32), 20), "2")
    before = Path.cwd()
    mesh = generators.create("Craftsman", fake).generate(frame).mesh
    shapes.assert_upright(mesh)
    assert Path.cwd() == before and capsys.readouterr().out == ""
    loaded, called = FakeCraftsmanPipeline.calls
    assert loaded["encoder"] and loaded["torch_dtype"] == torch.float32 and loaded["device"] == "cpu"
    assert called["image"].mode == "RGBA" and called["output"] == "np" and called["depth"] == 8
    generators.create("Craftsman", fake).generate(replace(frame, index=9))
    generators.create("Craftsman", replace(fake, seed=1)).generate(frame)
    noise = [call["noise"] for call in FakeCraftsmanPipeline.calls if "noise" in call]
    assert noise[0] == noise[1] != noise[2]


@pytest.mark.parametrize(
    ("condition", "repository"),
    [
        ({"dino_type": "dinov2-base"}, "facebook/dinov2-base"),
        ({"pretrained_dino_name_or_path": "facebook/dinov2-large"}, "facebook/dinov2-large"),
        ({"pretrained_model_name_or_path": "a/dinov2regbase518/model.ckpt"}, "facebook/dinov2-with-registers-base"),
    ],
)
def test_a_missing_encoder_is_an_error_before_any_work(fake, condition, repository):
    file = fake.weights_dir / FOLDER / "config.yaml"
    file.write_text(yaml.safe_dump({"system": {"condition_model": condition}}))
    with pytest.raises(Unavailable, match=f"weights of {repository} are missing: put config.json, prepro"):
        needs.require(fake)
    assert FakeCraftsmanPipeline.calls == []
