"""Hunyuan3D-2: the owner's real code with tiny random networks where it is installed, its contract elsewhere."""

import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import generators
from generators import GenerationError
from v2m4.config import FAST
from v2m4.preflight import generators as needs
from v2m4.weights import Unavailable

FOLDER = "tencent/Hunyuan3D-2"
TINY = {
    "model": {
        "target": "hy3dgen.shapegen.models.Hunyuan3DDiT",
        "params": {
            "in_channels": 8,
            "context_in_dim": 16,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [16],
            "theta": 10000,
            "qkv_bias": True,
        },
    },
    "vae": {
        "target": "hy3dgen.shapegen.models.ShapeVAE",
        "params": {
            "num_latents": 12,
            "embed_dim": 8,
            "num_freqs": 4,
            "include_pi": False,
            "heads": 2,
            "width": 16,
            "num_decoder_layers": 1,
            "qkv_bias": False,
            "qk_norm": True,
            "scale_factor": 1.0,
        },
    },
    "conditioner": {
        "target": "hy3dgen.shapegen.models.SingleImageEncoder",
        "params": {
            "main_image_encoder": {
                "type": "DinoImageEncoder",
                "kwargs": {
                    "config": {
                        "hidden_size": 16,
                        "num_hidden_layers": 1,
                        "num_attention_heads": 2,
                        "image_size": 28,
                        "patch_size": 14,
                        "mlp_ratio": 2,
                    },
                    "image_size": 28,
                },
            }
        },
    },
    "scheduler": {
        "target": "hy3dgen.shapegen.schedulers.FlowMatchEulerDiscreteScheduler",
        "params": {"num_train_timesteps": 1000},
    },
    "image_processor": {"target": "hy3dgen.shapegen.preprocessors.ImageProcessorV2", "params": {"size": 56}},
}


def settings(folder, **changes):
    generation = replace(FAST.generation, paint=changes.pop("paint", "none"), steps=2, resolution=20, texture_size=32)
    return replace(FAST, model="Hunyuan", device="cpu", weights_dir=folder, generation=generation, **changes)


def shape_files(root):
    folder = root / FOLDER / "hunyuan3d-dit-v2-0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    (folder / "model.fp16.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def frame(shapes):
    return replace(shapes.frame_of(shapes.disc((64, 96), (60, 32), 25), "4"), index=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with small random networks, saved as the owner's loader expects them."""
    pytest.importorskip("hy3dgen", reason="pip install hy3dgen==2.0.2")
    library = torch.library.Library(
        "torchvision", "DEF"
    )  # PyPI's torchvision is a CUDA build: its operators are not here
    if not torch.cuda.is_available():
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.extension._has_ops = lambda: True
    import yaml
    from hy3dgen.shapegen.pipelines import instantiate_from_config
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("weights")
    folder = shape_files(root)
    torch.manual_seed(0)
    state = {}
    for name in ("model", "vae", "conditioner"):
        for key, value in instantiate_from_config(TINY[name]).state_dict().items():
            state[f"{name}.{key}"] = (value.half() if value.is_floating_point() else value).contiguous()
    save_file(state, str(folder / "model.fp16.safetensors"))
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    yield root
    del library


@pytest.mark.parametrize("low_vram", [False, True])
def test_the_owners_code_runs_on_random_networks(tiny, frame, low_vram):
    config = settings(tiny, max_faces=500, low_vram=low_vram)
    needs.require(config)
    generator = generators.create("Hunyuan", config)
    state = torch.random.get_rng_state()
    mesh = generator.generate(frame).mesh
    assert torch.equal(state, torch.random.get_rng_state())
    lower, upper = mesh.bounds()
    assert 4 <= len(mesh.faces) <= 500
    assert torch.allclose((upper - lower).max(), torch.tensor(1.0)) and torch.allclose(lower, -upper, atol=1e-6)
    again = generators.create("Hunyuan", config).generate(frame).mesh
    assert torch.equal(mesh.vertices, again.vertices) and torch.equal(mesh.faces, again.faces)
    frames = [frame, replace(frame, index=5, picture=np.ascontiguousarray(frame.rgba[:, ::-1]))]
    for alone, batched in zip(
        [generator.generate(each) for each in frames], generator.generate_many(frames), strict=True
    ):
        assert alone.mesh.faces.shape == batched.mesh.faces.shape
        assert torch.allclose(alone.mesh.vertices, batched.mesh.vertices, atol=1e-3)
    other = generators.create("Hunyuan", replace(config, seed=7)).generate(frame).mesh
    assert mesh.vertices.shape != other.vertices.shape or not torch.equal(mesh.vertices, other.vertices)


def test_the_signatures_that_the_adapter_relies_on(tiny):
    import inspect

    from hy3dgen.shapegen import Hunyuan3DDiTFlowMatchingPipeline as Pipeline

    called = {"image", "num_inference_steps", "guidance_scale", "octree_resolution", "generator", "enable_pbar"}
    assert called <= set(inspect.signature(Pipeline.__call__).parameters)
    loading = {"model_path", "device", "dtype", "use_safetensors", "variant", "subfolder"}
    assert loading <= set(inspect.signature(Pipeline.from_pretrained).parameters)


class FakeShape:
    """hy3dgen 2.0.2's shape pipeline as the adapter calls it, with the figure in place of a network's volume."""

    calls: ClassVar[list[dict]] = []
    surface: tuple | None = None

    def __init__(self):
        self.conditioner, self.model, self.vae = (torch.nn.Identity() for _ in range(3))

    @classmethod
    def from_pretrained(
        cls,
        model_path,
        device="cuda",
        dtype=torch.float16,
        use_safetensors=True,
        variant="fp16",
        subfolder="hunyuan3d-dit-v2-0",
    ):
        cls.calls.append({"path": model_path, "device": device, "dtype": dtype, "subfolder": subfolder})
        return cls()

    def to(self, device=None, dtype=None):
        self.device = torch.device(device)

    def __call__(
        self,
        image=None,
        num_inference_steps=50,
        guidance_scale=5.0,
        generator=None,
        octree_resolution=384,
        enable_pbar=True,
    ):
        (seed,) = {each.initial_seed() for each in generator}
        self.calls.append({"image": image[0], "steps": num_inference_steps, "seed": seed, "count": len(image)})
        assert len(image) == len(generator)
        return [None if self.surface is None else trimesh.Trimesh(*self.surface, process=False) for _ in image]


class FakePaint:
    """hy3dgen 2.0.2's texture pipeline as the adapter calls it: left half red, right half blue, corners doubled."""

    @classmethod
    def from_pretrained(cls, model_path):
        FakeShape.calls.append({"paint": model_path})
        return cls()

    def enable_model_cpu_offload(self, gpu_id=None, device="cuda"):
        FakeShape.calls.append({"offload": str(device)})

    def __call__(self, mesh, image):
        vertices = np.asarray(mesh.vertices)[np.asarray(mesh.faces)].reshape(-1, 3)
        torn = trimesh.Trimesh(vertices, np.arange(len(vertices)).reshape(-1, 3), process=False)
        uvs = np.stack([np.where(vertices[:, 0] > 0.1, 0.9, 0.1), np.full(len(vertices), 0.5)], 1)
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:, :32, 0] = 255
        picture[:, 32:, 2] = 255
        material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(picture), diffuse=(255, 255, 255))
        torn.visual = trimesh.visual.TextureVisuals(uv=uvs, image=Image.fromarray(picture), material=material)
        return torn


@pytest.fixture
def fake(monkeypatch, shapes, tmp_path):
    if "hy3dgen.shapegen" in sys.modules:
        monkeypatch.delitem(sys.modules, "hy3dgen.shapegen")
    shapes.fake_module(monkeypatch, "hy3dgen")
    shapes.fake_module(monkeypatch, "hy3dgen.shapegen", Hunyuan3DDiTFlowMatchingPipeline=FakeShape)
    shapes.fake_module(monkeypatch, "hy3dgen.texgen", Hunyuan3DPaintPipeline=FakePaint)
    shapes.fake_module(monkeypatch, "custom_rasterizer")
    monkeypatch.setenv("HY3DGEN_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr(FakeShape, "calls", [])
    monkeypatch.setattr(FakeShape, "surface", shapes.figure())
    shape_files(tmp_path)
    for part in ("hunyuan3d-delight-v2-0", "hunyuan3d-paint-v2-0"):
        (tmp_path / FOLDER / part).mkdir()
        (tmp_path / FOLDER / part / "model_index.json").write_text("{}")
    return SimpleNamespace(root=tmp_path, calls=FakeShape.calls)


def test_mesh_is_in_canonical_pose(fake, frame, shapes):
    mesh = generators.create("Hunyuan", settings(fake.root)).generate(frame).mesh
    shapes.assert_upright(mesh)
    loaded, called = fake.calls
    assert loaded["path"] == str((fake.root / FOLDER).resolve()) and loaded["dtype"] == torch.float32
    assert called["steps"] == 2 and called["seed"] == 42 and called["image"].mode == "RGBA"


def test_textured_surface_stays_welded(fake, frame, shapes, monkeypatch):
    monkeypatch.setattr(needs, "check", lambda name, config: None)
    mesh = generators.create("Hunyuan", settings(fake.root, paint="network", low_vram=True)).generate(frame).mesh
    shapes.assert_upright(mesh)  # six vertices again, though the owner's mesh was torn into 24
    assert len(mesh.uvs) == 24 and mesh.texture.shape == (32, 32, 3)
    right = mesh.vertices[:, 0] > 0.1
    assert torch.allclose(mesh.colors[right], torch.tensor([0, 0, 1.0]))
    assert torch.allclose(mesh.colors[~right], torch.tensor([1.0, 0, 0]))
    assert {"offload": "cpu"} in fake.calls


def test_the_baseline_is_written_for_it_too(fake, frame, shapes, tmp_path):
    from v2m4.io.gltf import read_glb
    from v2m4.workspace import Workspace

    workspace = Workspace(tmp_path / "clip")
    generators.run([frame], workspace, settings(fake.root, baseline=True))
    mesh = read_glb(workspace.path("4_baseline_sample.glb"))
    lower, upper = mesh.bounds()
    assert len(mesh.faces) == 8 and torch.allclose((upper - lower).max(), torch.tensor(1.0), atol=1e-3)
    assert workspace.path("1_generation/4_preview.png").exists()


def test_weights_may_be_named_by_their_path(fake, frame):
    config = settings(None)
    folder = fake.root / FOLDER / "hunyuan3d-dit-v2-0"
    config = replace(config, generation=replace(config.generation, weights=str(folder)))
    generators.create("Hunyuan", config).generate(frame)
    assert (fake.calls[0]["path"], fake.calls[0]["subfolder"]) == (str(folder.parent.resolve()), folder.name)


def test_a_batch_is_sampled_at_once_and_kept_frame_by_frame(fake, frame, shapes, tmp_path):
    from v2m4.workspace import Workspace

    frames = [replace(frame, name=str(index), index=index) for index in range(5)]
    config = settings(fake.root)
    config = replace(config, generation=replace(config.generation, batch=2))
    assets = generators.run(frames, Workspace(tmp_path / "clip"), config)
    assert [call["count"] for call in fake.calls[1:]] == [2, 2, 1]
    for asset in assets:
        shapes.assert_upright(asset.mesh)
    (tmp_path / "clip/1_generation/1.npz").unlink()
    generators.run(frames, Workspace(tmp_path / "clip"), config)
    assert [call["count"] for call in fake.calls[4:] if "count" in call] == [1]


def test_a_frame_without_surface_in_a_batch_is_attempted_again(fake, frame, monkeypatch):
    generator = generators.create("Hunyuan", settings(fake.root))
    once, seeds = generator._surfaces, []

    def first_is_empty(pictures, seed):
        seeds.append((len(pictures), seed))
        found = once(pictures, seed)
        return [None, *found[1:]] if seed == 42 else found

    monkeypatch.setattr(generator, "_surfaces", first_is_empty)
    first, second = generator.generate_many([frame, replace(frame, name="5", index=5)])
    assert torch.equal(first.mesh.vertices, second.mesh.vertices)
    assert [count for count, _ in seeds] == [2, 1, 1] and seeds[2][1] != 42


def test_no_surface_is_attempted_again_and_then_an_error(fake, frame, monkeypatch):
    monkeypatch.setattr(FakeShape, "surface", None)
    with pytest.raises(GenerationError, match="frame 4: Hunyuan found no surface"):
        generators.create("Hunyuan", settings(fake.root)).generate(frame)
    assert len({call["seed"] for call in fake.calls[1:]}) == 3


def test_missing_requirements_are_errors_before_any_work(fake, tmp_path):
    with pytest.raises(Unavailable, match=r"needs a CUDA GPU; add --generation\.paint none"):
        needs.require(settings(fake.root, paint="network"))
    (fake.root / FOLDER / "hunyuan3d-dit-v2-0" / "model.fp16.safetensors").unlink()
    with pytest.raises(Unavailable, match=r"weights of tencent/Hunyuan3D-2 are missing: put hunyuan3d-dit"):
        needs.require(settings(fake.root))
    other = settings(fake.root)
    other = replace(other, generation=replace(other.generation, weights="tencent/Hunyuan3D-2mini"))
    with pytest.raises(Unavailable, match="expected owner/name/sub-folder"):
        needs.require(other)
    assert fake.calls == []


@pytest.mark.parametrize(
    ("version", "loads"), [("0.35.2", True), ("0.37.1", True), ("0.38.0", False), ("1.0.0", False)]
)
def test_an_incompatible_diffusers_is_an_error(fake, monkeypatch, version, loads):
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    monkeypatch.setattr(metadata, "version", lambda package: version)
    painted = settings(fake.root, paint="network")
    if loads:
        needs.require(painted)
    else:
        with pytest.raises(Unavailable, match=rf"diffusers {version} does not load .*diffusers<0\.38"):
            needs.require(painted)
    needs.require(settings(fake.root))  # the shape's loads


def test_networks_are_loaded_at_first_use_and_weights_change_the_version(fake):
    first = generators.create("Hunyuan", settings(fake.root))
    assert fake.calls == []
    (fake.root / FOLDER / "hunyuan3d-dit-v2-0" / "model.fp16.safetensors").write_bytes(b"more")
    assert generators.create("Hunyuan", settings(fake.root)).version != first.version
