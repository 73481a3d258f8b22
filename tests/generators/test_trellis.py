"""TRELLIS through its contract: the owner's signatures at 6b0d647, with a figure in place of what it decodes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import generators
from generators import GenerationError, _trellis_flow
from generators._surface import Z_UP
from v2m4.camera import Orbit
from v2m4.config import FAST
from v2m4.mesh import PosedAsset
from v2m4.preflight import generators as needs
from v2m4.preflight.generators import DINO_CODE, DINO_FILE
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace

FOLDER = "microsoft/TRELLIS-image-large"
CALLS: list[dict] = []
GREEN = torch.tensor([0.2, 0.7, 0.3])


class Network(torch.nn.Module):
    """A flow on dense features: the clean sample is a mix of condition and negative, as guidance makes it."""

    in_channels = 3

    def forward(self, x, t, cond):
        return (x - cond.mean()) / (t[0] / 1000)


class FakeSampler:
    """FlowEulerGuidanceIntervalSampler: x_0 and velocity under guidance (sigma_min = 0)."""

    def _get_model_prediction(self, model, x_t, t, cond=None, **kwargs):
        assert set(kwargs) == {"neg_cond", "cfg_strength", "cfg_interval"} and kwargs["cfg_interval"] == (0.0, 1.0)
        time = torch.tensor([1000 * t] * x_t.shape[0])
        strength = kwargs["cfg_strength"]
        velocity = (1 + strength) * model(x_t, time, cond) - strength * model(x_t, time, kwargs["neg_cond"])
        return x_t - t * velocity, None, velocity


class FakeTrellisPipeline:
    """TrellisImageTo3DPipeline as the adapter calls it. What is decoded has the latent's mean as its green."""

    success: ClassVar[bool] = True
    surface: ClassVar[tuple]

    def __init__(self):
        self.models = {"slat_flow_model": Network(), "image_cond_model": torch.nn.Identity()}
        self.slat_sampler, self.slat_sampler_params = (
            FakeSampler(),
            {"steps": 12, "cfg_strength": 3.0, "rescale_t": 3.0},
        )
        self.slat_normalization = {"mean": [0.1, 0.1, 0.1], "std": [2.0, 2.0, 2.0]}

    @staticmethod
    def from_pretrained(path):
        dino = torch.hub.load("facebookresearch/dinov2", "dinov2_vitl14_reg", pretrained=True)
        CALLS.append({"path": path, "dino": dino})
        return FakeTrellisPipeline()

    def to(self, device):
        CALLS.append({"to": str(device)})

    def run(
        self,
        image,
        num_samples=1,
        seed=42,
        sparse_structure_sampler_params=None,
        slat_sampler_params=None,
        formats=("mesh", "gaussian", "radiance_field"),
        preprocess_image=True,
    ):
        CALLS.append({"image": image, "seed": seed, "steps": sparse_structure_sampler_params, "formats": formats})
        return self._decoded(GREEN[1].item(), formats)

    def _decoded(self, green, formats):
        vertices, faces = self.surface
        attributes = torch.cat([GREEN.expand(len(vertices), 3), torch.zeros(len(vertices), 3)], 1).clone()
        attributes[:, 1] = green
        mesh = SimpleNamespace(
            vertices=torch.from_numpy(vertices),
            faces=torch.from_numpy(faces),
            vertex_attrs=attributes,
            success=self.success,
        )
        return {"mesh": [mesh], "gaussian": [attributes]} if "gaussian" in formats else {"mesh": [mesh]}

    def preprocess_image(self, image):
        return image

    def get_cond(self, image):
        return {"cond": torch.full((1, 2, 3), 0.15), "neg_cond": torch.zeros(1, 2, 3)}

    def sample_sparse_structure(self, cond, num_samples=1, sampler_params=None):
        return torch.zeros(5, 4, dtype=torch.int32)

    def decode_slat(self, slat, formats):
        return self._decoded(slat.mean(), formats)


def postprocess_mesh(vertices, faces, simplify=True, simplify_ratio=0.9, fill_holes=True, **options):
    assert simplify == (simplify_ratio > 0) and fill_holes
    return vertices, faces


def to_glb(app_rep, mesh, simplify=0.95, fill_holes=True, texture_size=1024, verbose=True):
    """The owner's export: every corner by itself, turned y up, the picture as the material's texture."""
    assert simplify == 0 and not fill_holes
    vertices = mesh.vertices.numpy()[mesh.faces.numpy()].reshape(-1, 3) @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    torn = trimesh.Trimesh(vertices, np.arange(len(vertices)).reshape(-1, 3), process=False)
    colour = tuple(int(255 * value) for value in app_rep[0, :3].tolist())
    picture = Image.new("RGB", (texture_size, texture_size), colour)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    torn.visual = trimesh.visual.TextureVisuals(uv=np.full((len(vertices), 2), 0.5), material=material)
    return torn


@pytest.fixture
def fake(monkeypatch, shapes, tmp_path):
    CALLS.clear()
    for name in ("trellis", "spconv", "kaolin", "nvdiffrast", "utils3d", "trellis.modules"):
        shapes.fake_module(monkeypatch, name)
    tools = SimpleNamespace(postprocess_mesh=postprocess_mesh, to_glb=to_glb)
    shapes.fake_module(monkeypatch, "trellis.utils", postprocessing_utils=tools)
    shapes.fake_module(monkeypatch, "trellis.pipelines", TrellisImageTo3DPipeline=FakeTrellisPipeline)
    shapes.fake_module(monkeypatch, "trellis.modules.sparse", SparseTensor=lambda feats, coords: feats)
    monkeypatch.setattr(needs, "check", lambda name, config: None)
    vertices, faces = shapes.figure()
    monkeypatch.setattr(
        FakeTrellisPipeline, "surface", ((vertices @ Z_UP.numpy()).astype(np.float32), faces), raising=False
    )
    monkeypatch.setattr(FakeTrellisPipeline, "success", True)
    for name in (f"{FOLDER}/pipeline.json", f"{FOLDER}/ckpts/a.json", f"torch_hub/{DINO_CODE}/hubconf.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("def dinov2_vitl14_reg(pretrained): return 'from the disk'\n")
    (tmp_path / "torch_hub" / DINO_FILE).parent.mkdir()
    (tmp_path / "torch_hub" / DINO_FILE).write_bytes(b"1")
    generation = replace(FAST.generation, texture_size=32)
    return replace(FAST, model="TRELLIS", device="cpu", weights_dir=tmp_path, generation=generation)


def pose(mesh, extrinsics, scale=0.8):
    """As stage 2 poses it."""
    bare = PosedAsset(mesh, extrinsics, scale, 0.9)
    return replace(bare, mesh=mesh.transformed(bare.matrix()))


@pytest.fixture
def frame(shapes):
    return shapes.frame_of(shapes.disc((64, 96), (48, 32), 20), "2")


@pytest.mark.parametrize("paint", ["network", "none"])
def test_mesh_is_in_canonical_pose(fake, frame, shapes, paint):
    config = replace(fake, generation=replace(fake.generation, paint=paint, steps=4))
    before = torch.hub.get_dir(), torch.hub.load
    mesh = generators.create("TRELLIS", config).generate(frame).mesh
    shapes.assert_upright(mesh)
    assert torch.allclose(mesh.colors, GREEN.expand_as(mesh.colors), atol=0.01)
    assert (mesh.texture is None) == (paint == "none")
    assert (torch.hub.get_dir(), torch.hub.load) == before
    loaded, placed, called = CALLS
    assert loaded == {"path": str((fake.weights_dir / FOLDER).resolve()), "dino": "from the disk"}
    assert placed == {"to": "cpu"} and called["seed"] == 42 and called["steps"] == {"steps": 4}
    assert called["image"].mode == "RGBA" and ("gaussian" in called["formats"]) == (paint == "network")


def test_low_vram_keeps_the_noise_on_the_device(fake, frame):
    generator = generators.create("TRELLIS", replace(fake, low_vram=True))
    generator.generate(frame)
    pipeline, offload = generator._pipeline
    assert pipeline.device == generator.device and offload is not None and offload.on_device is None


def test_no_surface_is_attempted_again_and_then_an_error(fake, frame, monkeypatch):
    monkeypatch.setattr(FakeTrellisPipeline, "success", False)
    with pytest.raises(GenerationError, match="TRELLIS found no surface"):
        generators.create("TRELLIS", fake).generate(frame)
    assert len({call["seed"] for call in CALLS if "seed" in call}) == 3


def test_refinement_approaches_the_frames_colour(fake, shapes, monkeypatch):
    """The figure's own render with more green is the frame: the decoded green must follow."""
    generator = generators.create("TRELLIS", fake)
    orbit = Orbit.of(yaw=0.4, pitch=0.2, radius=2.0)
    frame = shapes.frame_of(shapes.disc((64, 96), (48, 32), 20), "2")
    asset = generator.generate(frame)
    camera = orbit.camera(aspect=frame.aspect)
    goal = 0.9
    monkeypatch.setattr(_trellis_flow, "SIZE", 48)
    monkeypatch.setattr("generators.trellis.SIZE", 48)
    monkeypatch.setattr("generators.trellis.render_gaussians", lambda gaussian, matrix, camera: torch.zeros(48, 48, 3))
    from v2m4.render import render_mesh

    target = replace(asset.mesh, texture=None, uvs=None, uv_faces=None)
    target = replace(target, colors=torch.tensor([0.2, goal, 0.3]).expand(len(target.vertices), 3).clone())
    shown = render_mesh(target, camera, (64, 96), channels=("color",), background=0.0)
    rgba = torch.cat([shown.color[0], shown.mask[0]], -1)
    frame = replace(frame, picture=(rgba.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    before = abs(0.15 * 2.0 + 0.1 - goal)  # the flow leads to the condition: 0.15, denormalised 0.4
    posed = pose(asset.mesh, camera.extrinsics[0])
    (refined,) = generators.refine([frame], [posed], Workspace(fake.weights_dir / "clip"), fake)
    assert abs(refined.mesh.colors[0, 1].item() - goal) < 0.3 * before
    canonical = refined.mesh.transformed(torch.linalg.inv(posed.matrix()))
    shapes.assert_upright(canonical)
    assert torch.allclose(refined.mesh.vertices, posed.mesh.vertices, atol=1e-5)
    assert (canonical.texture is not None) == (asset.mesh.texture is not None)


def test_refinement_without_the_texture_keeps_the_colours_of_vertices(fake, frame, monkeypatch):
    monkeypatch.setattr(_trellis_flow, "SIZE", 24)
    monkeypatch.setattr("generators.trellis.SIZE", 24)
    monkeypatch.setattr("generators.trellis.render_gaussians", lambda gaussian, matrix, camera: torch.zeros(24, 24, 3))
    config = replace(fake, generation=replace(fake.generation, paint="none", steps=3))
    generator = generators.create("TRELLIS", config)
    camera = Orbit.of(radius=2.0).camera(aspect=frame.aspect)
    mesh = generator.refine(frame, camera)
    assert mesh.texture is None and mesh.colors is not None
    monkeypatch.setattr(
        FakeTrellisPipeline, "decode_slat", lambda self, slat, formats: failed(self._decoded(0.0, formats))
    )
    with pytest.raises(GenerationError, match="frame 2: refinement left no surface"):
        generator.refine(frame, camera)


def failed(outputs):
    outputs["mesh"][0].success = False
    outputs["mesh"][0].vertex_attrs.requires_grad_()
    return outputs


def test_one_network_at_a_time_leaves_no_room_for_refinement(fake, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("v2m4.weights.require_packages", lambda packages: None)
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    little = replace(fake, low_vram=True)
    with pytest.raises(Unavailable, match=r"--model TRELLIS: .*--low_vram add --generation\.refine no"):
        needs.require(little)
    needs.require(replace(little, baseline=True))
    needs.require(replace(little, generation=replace(little.generation, refine="no")))


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.6])
def test_square_window_has_square_pixels_and_the_images_centre(aspect):
    camera = Orbit.of(radius=2.0).camera(aspect=aspect)
    x0, y0, x1, y1 = _trellis_flow.square_window(aspect)
    assert (x0 + x1, y0 + y1) == pytest.approx((1, 1))
    assert (x1 - x0) * aspect == pytest.approx(y1 - y0)
    assert min(x0, y0) <= 0 and max(x1, y1) >= 1
    matrix = camera.cropped((x0, y0, x1, y1)).intrinsics((1, 1))
    assert matrix[0, 0] == pytest.approx(matrix[1, 1].item()) and matrix[:2, 2].tolist() == pytest.approx([0.5, 0.5])


def test_missing_requirements_are_errors_before_any_work(fake, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(Unavailable, match=r"trellis is not installed; git clone .*checkout 6b0d647"):
        needs.require(fake)


def test_error_of_missing_dino_names_its_folder(fake, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("v2m4.weights.require_packages", lambda packages: None)
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    needs.require(fake)
    (fake.weights_dir / "torch_hub" / DINO_FILE).unlink()
    with pytest.raises(Unavailable, match=rf"facebookresearch/dinov2 are missing: put {DINO_FILE} into .*hub"):
        needs.require(fake)
