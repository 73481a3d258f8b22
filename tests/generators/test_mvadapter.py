"""MV-Adapter through its contract: the owner's signatures at 4277e00."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from generators import _mvadapter
from v2m4.config import FAST
from v2m4.preflight import generators as needs
from v2m4.weights import Unavailable

CALLS: list[dict] = []


class FakeMVAdapterPipeline:
    def __init__(self):
        self.scheduler, self.cond_encoder = "scheduler", torch.nn.Identity()
        self.vae = SimpleNamespace(enable_slicing=lambda: CALLS.append({"sliced": True}))

    @classmethod
    def from_pretrained(cls, path, vae=None, torch_dtype=None, variant=None):
        CALLS.append({"base": path, "vae": vae, "dtype": torch_dtype, "variant": variant})
        return cls()

    def init_custom_adapter(self, num_views, self_attn_processor):
        assert num_views == 6

    def load_custom_adapter(self, pretrained_model_name_or_path_or_dict, weight_name, subfolder=None):
        CALLS.append({"adapter": f"{pretrained_model_name_or_path_or_dict}/{weight_name}"})

    def to(self, device=None, dtype=None):
        CALLS.append({"to": (str(device), dtype)})

    def enable_model_cpu_offload(self, gpu_id=None, device="cuda"):
        CALLS.append({"offload": str(device)})

    def set_progress_bar_config(self, disable):
        assert disable

    def __call__(
        self,
        prompt,
        height=None,
        width=None,
        num_inference_steps=50,
        guidance_scale=5.0,
        negative_prompt=None,
        num_images_per_prompt=1,
        generator=None,
        cross_attention_kwargs=None,
        control_image=None,
        control_conditioning_scale=1.0,
        reference_image=None,
        reference_conditioning_scale=1.0,
    ):
        CALLS.append({"control": control_image, "reference": reference_image, "seed": generator.initial_seed()})
        return SimpleNamespace(images=[Image.new("RGB", (width, height)) for _ in range(num_images_per_prompt)])


class FakeTexture:
    """Gives the mesh back as a GLB, every corner by itself: blue where x is large, else red."""

    def __init__(self, upscaler_ckpt_path, inpaint_ckpt_path, device):
        CALLS.append({"upscaler": upscaler_ckpt_path, "inpainter": inpaint_ckpt_path})

    def __call__(
        self,
        mesh_path,
        save_dir,
        save_name="default",
        uv_unwarp=False,
        uv_size=4096,
        rgb_path=None,
        rgb_process_config=None,
        camera_azimuth_deg=(),
    ):
        assert Image.open(rgb_path).size == (6 * 768, 768) and rgb_process_config.inpaint_mode == "view"
        mesh = trimesh.load_mesh(mesh_path, process=False)
        vertices = np.asarray(mesh.vertices)[np.asarray(mesh.faces)].reshape(-1, 3)
        torn = trimesh.Trimesh(vertices, np.arange(len(vertices)).reshape(-1, 3), process=False)
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:, :32, 0], picture[:, 32:, 2] = 255, 255
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
        uvs = np.stack([np.where(vertices[:, 0] > 0.1, 0.9, 0.1), np.full(len(vertices), 0.5)], 1)
        torn.visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
        path = f"{save_dir}/{save_name}_shaded.glb"
        torn.export(path)
        return SimpleNamespace(shaded_model_save_path=path, pbr_model_save_path=None)


@pytest.fixture
def config(tmp_path):
    for part in needs.MVADAPTER.weights:
        for name in part.files:
            place = tmp_path / part.repository / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir() if "." not in name else place.write_bytes(b"1")
    (tmp_path / needs.INPAINTER).write_bytes(b"1")
    generation = replace(FAST.generation, texture_size=32)
    return replace(FAST, model="TripoSG", weights_dir=tmp_path, generation=generation)


@pytest.fixture
def owner(monkeypatch, shapes):
    def render(ctx, mesh, cameras, height, width, render_attr=True, normal_background=0.0):
        CALLS.append({"azimuth": cameras})
        return SimpleNamespace(pos=torch.zeros(6, height, width, 3), normal=torch.zeros(6, height, width, 3))

    CALLS.clear()
    fake = {
        "nvdiffrast": {},
        "mvadapter": {},
        "mvadapter.utils": {"make_image_grid": lambda images, rows: Image.new("RGB", (len(images) * 768, 768))},
        "mvadapter.utils.mesh_utils": {
            "NVDiffRastContextWrapper": lambda device, context_type: None,
            "get_orthogonal_camera": lambda azimuth_deg, **options: azimuth_deg,
            "load_mesh": lambda mesh_path, rescale, device: mesh_path,
            "render": render,
        },
        "mvadapter.models": {},
        "mvadapter.models.attention_processor": {"DecoupledMVRowColSelfAttnProcessor2_0": object},
        "mvadapter.schedulers": {},
        "mvadapter.schedulers.scheduling_shift_snr": {
            "ShiftSNRScheduler": SimpleNamespace(from_scheduler=lambda scheduler, **options: "shifted")
        },
        "mvadapter.pipelines": {},
        "mvadapter.pipelines.pipeline_mvadapter_i2mv_sdxl": {"MVAdapterI2MVSDXLPipeline": FakeMVAdapterPipeline},
        "mvadapter.pipelines.pipeline_texture": {
            "ModProcessConfig": lambda view_upscale, inpaint_mode: SimpleNamespace(inpaint_mode=inpaint_mode),
            "TexturePipeline": FakeTexture,
        },
        "diffusers": {"AutoencoderKL": SimpleNamespace(from_pretrained=lambda path, torch_dtype: "vae")},
    }
    for name, members in fake.items():
        shapes.fake_module(monkeypatch, name, **members)


@pytest.mark.parametrize("low_vram", [False, True])
def test_a_painted_mesh_keeps_its_pose_and_its_surface(owner, config, shapes, monkeypatch, low_vram):
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    painter = _mvadapter.MVAdapter(replace(config, low_vram=low_vram))
    vertices, faces = shapes.figure()
    surface = ((vertices - [0.1, 0.35, 0.25]) / 1.3).astype(np.float32), faces
    picture = np.zeros((32, 32, 4), np.uint8)
    mesh = painter.paint(surface, picture)
    shapes.assert_upright(mesh)
    right = mesh.vertices[:, 0] > 0.1
    assert mesh.texture.shape == (32, 32, 3)
    assert torch.allclose(mesh.colors[right], torch.tensor([0, 0, 1.0]), atol=0.02)
    assert torch.allclose(mesh.colors[~right], torch.tensor([1.0, 0, 0]), atol=0.02)
    merged = {name: value for call in CALLS for name, value in call.items()}
    assert merged["control"].shape == (6, 6, 768, 768) and merged["seed"] == 42
    assert np.asarray(merged["reference"])[0, 0].tolist() == [128, 128, 128]
    assert merged["azimuth"][0] == -90 and merged["inpainter"].endswith("big-lama.pt")
    assert ("offload" in merged) == low_vram
    assert painter.version == _mvadapter.MVAdapter(config).version


def test_errors_of_missing_requirements_name_the_file(owner, config, monkeypatch):
    with pytest.raises(Unavailable, match=r"needs a CUDA GPU; add --generation\.paint none"):
        needs.MVADAPTER.check(replace(config, device="cpu"))
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    needs.MVADAPTER.check(config)
    (config.weights_dir / needs.INPAINTER).unlink()
    with pytest.raises(Unavailable, match=r"put big-lama\.pt \(https://github"):
        needs.MVADAPTER.check(config)
    (config.weights_dir / "huanngzh/mv-adapter" / needs.ADAPTER.files[0]).unlink()
    with pytest.raises(Unavailable, match="weights of huanngzh/mv-adapter are missing"):
        needs.MVADAPTER.check(config)
