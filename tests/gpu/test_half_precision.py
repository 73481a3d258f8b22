"""Every adapter on the GPU, in the precision that it takes there, against itself on the CPU in single precision.

Where the owner's package is installed its own code runs, with a small random network (SAM 2, Hunyuan3D-2). The others
go through the packages that stand in for the owners' in the adapters' tests; what they compute is a small random
network, on the device and in the precision that the adapter asks for.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import generators
from camera_search.dreamsim import DreamSimilarity
from camera_search.dust3r import Dust3rPointMap
from camera_search.vggt import VggtPointMap
from generators import _mvadapter
from generators._memory import OneAtATime
from registration.correspondences.cotracker import CoTracker
from tests.camera_search.test_learned_parts import _config, _pictures, owners  # noqa: F401  # a fixture
from tests.generators import test_craftsman, test_mvadapter, test_triposg
from tests.generators.conftest import shapes  # noqa: F401  # a fixture
from tests.generators.test_craftsman import fake as craftsman  # noqa: F401  # a fixture
from tests.generators.test_hunyuan import frame, settings, tiny  # noqa: F401  # fixtures
from tests.generators.test_mvadapter import config as mvadapter_config  # noqa: F401  # a fixture
from tests.generators.test_mvadapter import owner as mvadapter_owner  # noqa: F401  # a fixture
from tests.generators.test_triposg import fake as triposg  # noqa: F401  # a fixture
from tests.registration.correspondences.test_point_trackers import owners as tracker_owners  # noqa: F401  # a fixture
from tests.v2m4.io.test_sam2 import CONFIG, SCENES, needs_transformers
from tests.v2m4.io.test_sam2 import tiny as sam2_tiny  # noqa: F401  # a fixture
from v2m4.io import _sam2
from v2m4.preflight import generators as needs

pytestmark = pytest.mark.gpu

# facebookresearch/vggt, vggt/models/vggt.py, with a small random network that autocast takes to half precision
VGGT = """
import torch
from torch import nn
class VGGT(nn.Module):
    used = []
    def __init__(self):
        super().__init__()
        self.aggregator = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.point_head = nn.Linear(64, 4)
        self.camera_head = self.depth_head = self.track_head = nn.Linear(1, 1)
    @classmethod
    def from_pretrained(cls, folder):
        torch.manual_seed(0)
        return cls()
    def forward(self, images, query_points=None):
        features = self.aggregator(images[None].permute(0, 1, 3, 4, 2))
        VGGT.used.append(features.dtype)
        found = self.point_head(features)
        return {"world_points": found[..., :3], "world_points_conf": found[..., 3].exp()}
"""


class Small(nn.Module):
    """A small random network over pixels; notes where and in what precision it has worked."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))
        self.used: list[tuple[str, torch.dtype]] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.layers(pixels)
        self.used.append((found.device.type, found.dtype))
        return found

    def judge(self, image, device, dtype: torch.dtype) -> float:
        """The mean over a picture's pixels, as a generator's network would be called."""
        pixels = torch.from_numpy(np.asarray(image)[..., :3].astype(np.float32) / 255).to(device, dtype)
        return float(self(pixels).float().mean())


def half(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The precision that is expected: on a CPU it stays single."""
    return dtype if device.type == "cuda" else torch.float32


@needs_transformers
def test_sam2_in_bfloat16(gpu, sam2_tiny):  # noqa: F811
    found = [
        np.stack(list(_sam2.open_sam2(replace(CONFIG, weights_dir=sam2_tiny, device=device)).alphas(SCENES)))
        for device in (gpu.type, "cpu")
    ]
    inside = [alphas > 127 for alphas in found]
    assert found[0].shape == found[1].shape
    assert (inside[0] == inside[1]).mean() > 0.95


def test_hunyuan_in_half_precision(gpu, tiny, frame):  # noqa: F811
    config = settings(tiny, max_faces=500)
    for low_vram in (False, True):
        generator = generators.create("Hunyuan", replace(config, device=gpu.type, low_vram=low_vram))
        mesh = generator.generate(frame).mesh
        lower, upper = mesh.bounds()
        assert 4 <= len(mesh.faces) <= 500 and torch.allclose((upper - lower).max(), torch.tensor(1.0))
        pipeline, offload = generator._shape
        assert next(pipeline.model.parameters()).dtype == half(gpu, torch.float16)
        assert isinstance(offload, OneAtATime) == low_vram
        if not low_vram:
            assert next(pipeline.model.parameters()).device.type == gpu.type


def test_triposg_in_half_precision(gpu, triposg, frame, shapes, monkeypatch):  # noqa: F811
    monkeypatch.setattr(needs, "check", lambda name, config: None)
    judged = []

    class Pipeline(test_triposg.FakePipeline):
        @classmethod
        def from_pretrained(cls, path, torch_dtype=None):
            made = cls()
            made.network, made.dtype = Small().to(torch_dtype), torch_dtype
            return made

        def to(self, device):
            self.device = device
            self.network.to(device)

        def __call__(self, image, **options):
            judged.append(self.network.judge(image, self.device, self.dtype))
            assert self.network.used == [(gpu.type if len(judged) == 1 else "cpu", self.dtype)]
            return SimpleNamespace(samples=[self.surface])

    shapes.fake_module(monkeypatch, "triposg.pipelines.pipeline_triposg", TripoSGPipeline=Pipeline)
    for device in (gpu.type, "cpu"):
        generator = generators.create("TripoSG", replace(triposg, device=device))
        shapes.assert_upright(generator.generate(frame).mesh)
        assert generator._shape.dtype == (half(gpu, torch.float16) if device == gpu.type else torch.float32)
    assert judged[0] == pytest.approx(judged[1], rel=0.02, abs=1e-3)


def test_craftsman_in_bfloat16(gpu, craftsman, frame, shapes, monkeypatch):  # noqa: F811
    judged = []

    class Pipeline(test_craftsman.FakePipeline):
        @classmethod
        def from_pretrained(cls, path, device, torch_dtype):
            made = cls()
            made.network, made.device, made.dtype = Small().to(device, torch_dtype), device, torch_dtype
            return made

        def __call__(self, image, **options):
            judged.append(self.network.judge(image, self.device, self.dtype))
            return SimpleNamespace(meshes=[self.surface])

    shapes.fake_module(monkeypatch, "craftsman", CraftsManPipeline=Pipeline)
    for device in (gpu.type, "cpu"):
        generator = generators.create("Craftsman", replace(craftsman, device=device))
        shapes.assert_upright(generator.generate(frame).mesh)
        assert generator._shape[0].network.used == [
            (device, half(gpu, torch.bfloat16) if device == gpu.type else torch.float32)
        ]
    assert judged[0] == pytest.approx(judged[1], rel=0.05, abs=0.01)


def test_mvadapter_in_half_precision(gpu, mvadapter_config, shapes, monkeypatch, request):  # noqa: F811
    made = []

    class Pipeline(test_mvadapter.FakePipeline):
        def __init__(self):
            super().__init__()
            self.cond_encoder = Small()
            made.append(self)

        def __call__(self, prompt, control_image=None, **options):
            assert control_image.device.type == gpu.type
            self.cond_encoder(control_image[:, :3].permute(0, 2, 3, 1)[:, ::32, ::32].half())
            return super().__call__(prompt, control_image=control_image, **options)

    monkeypatch.setattr(test_mvadapter, "FakePipeline", Pipeline)
    request.getfixturevalue("mvadapter_owner")
    monkeypatch.setattr("v2m4.weights.on_gpu", lambda config: True)
    painter = _mvadapter.MVAdapter(replace(mvadapter_config, device=gpu.type))
    vertices, faces = shapes.figure()
    surface = ((vertices - [0.1, 0.35, 0.25]) / 1.3).astype(np.float32), faces
    shapes.assert_upright(painter.paint(surface, np.zeros((32, 32, 4), np.uint8)))
    assert made[0].cond_encoder.used == [(gpu.type, torch.float16)]


def test_vggt_in_half_precision(gpu, owners):  # noqa: F811
    (owners / "packages/vggt/models/vggt.py").write_text(VGGT)
    pictures = torch.rand(2, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    maps = {}
    for device in (gpu.type, "cpu"):
        maps[device] = VggtPointMap(replace(_config(owners), device=device)).predict(pictures)
    from vggt.models.vggt import VGGT as Network

    assert Network.used[-1] == torch.float32
    if gpu.type == "cuda":
        assert Network.used[0] in (torch.bfloat16, torch.float16)
    ours, theirs = maps[gpu.type], maps["cpu"]
    assert ours.points.dtype == torch.float32 and ours.points.device.type == "cpu"
    scale = float(theirs.points.abs().max())
    assert float((ours.points - theirs.points).abs().max()) < 0.05 * scale
    assert torch.allclose(ours.confidence, theirs.confidence, rtol=0.05)


def test_dust3r_and_its_alignment(gpu, owners):  # noqa: F811
    pictures = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    maps = [Dust3rPointMap(replace(_config(owners), device=device)).predict(pictures) for device in (gpu.type, "cpu")]
    shapes_of = [found.points - found.points[:1, :1, :1] for found in maps]  # the alignment's shift is drawn at random
    assert torch.allclose(shapes_of[0], shapes_of[1], atol=1e-4)
    assert torch.allclose(maps[0].confidence, maps[1].confidence, atol=1e-4)


def test_dreamsim(gpu, owners):  # noqa: F811
    renders, reference = _pictures(20, 24, 36), _pictures(20)
    scores = []
    for device in (gpu.type, "cpu"):
        similarity = DreamSimilarity.load(replace(_config(owners, similarity="dreamsim"), device=device))
        found = similarity.score(renders.to(device), reference.to(device))
        assert found.device.type == device
        scores.append(found.cpu())
    assert torch.allclose(scores[0], scores[1], atol=1e-3)


def test_cotracker(gpu, tracker_owners):  # noqa: F811
    video = np.zeros((4, 30, 40, 4), np.uint8)
    for time in range(4):
        video[time, 10 + time, 5 + 2 * time] = (250, 240, 230, 255)
    points = (np.array([[5, 10], [9, 12]]) + 0.5) / [40, 30]
    found = [
        CoTracker(replace(tracker_owners, device=device)).track(video, points, np.array([0, 2]))
        for device in (gpu.type, "cpu")
    ]
    assert np.allclose(found[0].positions, found[1].positions, atol=1e-4)
