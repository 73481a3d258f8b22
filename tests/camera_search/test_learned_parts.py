"""VGGT, DUSt3R and DreamSim without them: small packages with the owners' names, signatures and shapes stand in.

The real networks, small and with random weights, are run beside the project: docs/models.md.
"""

import sys
from dataclasses import replace

import pytest
import torch

import camera_search
from camera_search import dust3r, learned_parts, vggt
from camera_search.dreamsim import DreamSimilarity
from camera_search.pointmap import FlowPnpProposer
from camera_search.pointmap_alignment import PointMapProposer
from camera_search.similarity import ImageAgreement, MaskedImages
from v2m4 import dreamsim
from v2m4 import weights as shared_weights
from v2m4.camera import Orbit
from v2m4.config import FAST, SearchConfig
from v2m4.mesh import Asset
from v2m4.preflight import camera_search as needs
from v2m4.weights import Unavailable
from v2m4.workspace import Workspace

VGGT = {
    "vggt/__init__.py": "",
    "vggt/models/__init__.py": "",
    # facebookresearch/vggt, vggt/models/vggt.py
    "vggt/models/vggt.py": """
import json, pathlib, torch
from torch import nn
class VGGT(nn.Module):
    def __init__(self, img_size=518, patch_size=14, embed_dim=1024):
        super().__init__()
        self.aggregator, self.point_head = nn.Linear(3, 3), nn.Linear(3, 4)
        self.camera_head, self.depth_head, self.track_head = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **options):
        print("Loading weights")
        folder = pathlib.Path(pretrained_model_name_or_path)
        network = cls(**json.loads((folder / "config.json").read_text()))
        network.aggregator.weight.data.fill_(float((folder / "model.safetensors").read_text()))
        return network
    def forward(self, images, query_points=None):
        if images.ndim == 4:
            images = images[None]
        assert images.ndim == 5 and images.shape[2] == 3 and 0 <= images.min() and images.max() <= 1
        assert not torch.is_grad_enabled() and not self.training
        predictions = {"images": images}
        if self.camera_head is not None or self.depth_head is not None or self.track_head is not None:
            raise AssertionError("computes what nobody asked for")
        b, s, _, h, w = images.shape
        points = images.permute(0, 1, 3, 4, 2) * self.aggregator.weight[0, 0] + torch.rand(())
        predictions["world_points"] = points.bfloat16()
        predictions["world_points_conf"] = 1 + images.mean(2)
        return predictions
""",
}

DUST3R = {
    "croco/models/croco.py": "",
    "roma.py": "",
    "dust3r/__init__.py": "",
    # naver/dust3r, dust3r/model.py
    "dust3r/model.py": """
import pathlib, torch
from torch import nn
class AsymmetricCroCo3DStereo(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kw):
        network = cls()
        network.bias.data.fill_(float((pathlib.Path(pretrained_model_name_or_path) / "model.safetensors").read_text()))
        return network
    def forward(self, view1, view2):
        assert view1["img"].min() >= -1 and view1["img"].max() <= 1
        points = [view["img"].permute(0, 2, 3, 1) + self.bias for view in (view1, view2)]
        conf = [1 + view["img"].abs().mean(1) for view in (view1, view2)]
        return ({"pts3d": points[0], "conf": conf[0]}, {"pts3d_in_other_view": points[1], "conf": conf[1]})
""",
    "dust3r/image_pairs.py": """
def make_pairs(imgs, scene_graph='complete', prefilter=None, symmetrize=True):
    assert scene_graph == 'complete' and symmetrize
    pairs = [(imgs[i], imgs[j]) for i in range(len(imgs)) for j in range(i)]
    return pairs + [(second, first) for first, second in pairs]
""",
    "dust3r/inference.py": """
import torch
@torch.no_grad()
def inference(pairs, model, device, batch_size=8, verbose=True):
    out = {"view1": [], "view2": [], "pred1": [], "pred2": []}
    for first, second in pairs:
        assert first["true_shape"].shape == (1, 2) and isinstance(first["idx"], int)
        predictions = model({**first, "img": first["img"].to(device)}, {**second, "img": second["img"].to(device)})
        for name, value in zip(out, (first, second, *predictions)):
            out[name].append(value)
    return out
""",
    "dust3r/cloud_opt/__init__.py": """
from enum import Enum
import torch
class GlobalAlignerMode(Enum):
    PointCloudOptimizer = "PointCloudOptimizer"
    PairViewer = "PairViewer"
class Scene(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        count = 1 + max(view["idx"] for view in output["view1"])
        first = {view["idx"]: prediction for view, prediction in zip(output["view1"], output["pred1"])}
        self.points = torch.nn.ParameterList([first[index]["pts3d"][0] for index in range(count)])
        self.im_conf = torch.nn.ParameterList([first[index]["conf"][0] for index in range(count)])
        self.shift = torch.nn.Parameter(torch.randn(3))
    def compute_global_alignment(self, init=None, niter_PnP=10, **kw):
        assert init == "mst" and kw == {"niter": 300, "schedule": "cosine", "lr": 0.01}
        self.shift.square().sum().backward()  # needs gradients
    def get_pts3d(self, raw=False):
        return [points + self.shift for points in self.points]
def global_aligner(dust3r_output, device, mode=GlobalAlignerMode.PointCloudOptimizer, **optim_kw):
    assert mode == GlobalAlignerMode.PointCloudOptimizer and optim_kw == {"verbose": False}
    return Scene(dust3r_output).to(device)
""",
}

DREAMSIM = {
    # dreamsim 0.2.1, dreamsim/model.py
    "dreamsim/__init__.py": """
import os, torch
class PerceptualModel(torch.nn.Module):
    def forward(self, img_a, img_b):
        return 1 - torch.nn.functional.cosine_similarity(self.embed(img_a), self.embed(img_b), dim=-1)
    def embed(self, img):
        assert img.shape[1:] == (3, 224, 224)
        return torch.nn.functional.adaptive_avg_pool2d(img, 8).flatten(1) + 1e-3
def dreamsim(pretrained=True, device="cuda", cache_dir="./models", normalize_embeds=True, dreamsim_type="ensemble",
             use_patch_model=False):
    print("Using cached", cache_dir)
    torch.hub.set_dir(cache_dir)
    assert pretrained and os.path.exists(os.path.join(cache_dir, "dino_vitb16_pretrain.pth"))
    return PerceptualModel().eval().requires_grad_(False).to(device), None
""",
}


def write(root, files):
    """Write files {path: text} below a folder."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _config(tmp_path, **search):
    return replace(FAST, device="cpu", weights_dir=tmp_path / "weights", search=replace(FAST.search, **search))


@pytest.fixture
def owners(tmp_path, monkeypatch):
    """All three packages and their weights."""
    write(tmp_path / "packages", VGGT | DUST3R | DREAMSIM)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setattr(shared_weights, "_cached", lambda *_: [])
    monkeypatch.setattr(shared_weights, "installed", lambda module: True)
    small = {"config.json": '{"embed_dim": 32}', "model.safetensors": "2"}
    for part in (*needs.VGGT.weights, *needs.DUST3R.weights):
        write(tmp_path / "weights" / part.repository, small)
    write(tmp_path / "weights" / "dreamsim", {part.split("|")[-1]: "" for part in dreamsim.PARTS})
    hub = torch.hub.get_dir()
    yield tmp_path
    assert torch.hub.get_dir() == hub
    for name in [name for name in sys.modules if name.split(".")[0] in ("vggt", "dust3r", "dreamsim", "roma")]:
        del sys.modules[name]


OPTIONS = [
    ({"point_map": "vggt"}, "--search.point_map vggt: ", "pip install --no-deps git+https://github.com/facebook"),
    ({"point_map": "dust3r"}, "--search.point_map dust3r: ", "git clone --recursive https://github.com/naver/dust3r"),
    ({"similarity": "dreamsim"}, "--search.similarity dreamsim: ", "pip install dreamsim"),
]


@pytest.mark.parametrize(("search", "option", "install"), OPTIONS)
def test_error_of_a_missing_package_names_option_and_command(tmp_path, monkeypatch, search, option, install):
    monkeypatch.setattr(shared_weights, "installed", lambda module: False)
    with pytest.raises(Unavailable, match="is not installed; ") as error:
        needs.require(_config(tmp_path, **search))
    assert str(error.value).startswith(option)
    assert install in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("search", "option", "file"),
    [
        (OPTIONS[0][0], OPTIONS[0][1], "facebook/VGGT-1B/model.safetensors"),
        (OPTIONS[1][0], OPTIONS[1][1], "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt/model.safetensors"),
        (OPTIONS[2][0], OPTIONS[2][1], "dreamsim/checkpoints/dino_vitbase16_pretrain.pth"),
    ],
)
def test_error_of_missing_weights_names_option_and_file(owners, search, option, file):
    config = _config(owners, **search)
    needs.require(config)
    (owners / "weights" / file).unlink()
    with pytest.raises(Unavailable, match=r"weights of .* are missing: put") as error:
        needs.require(config)
    assert str(error.value).startswith(option)
    assert all(part in str(error.value) for part in (file.split("/")[-1], str(owners / "weights")))
    assert "\n" not in str(error.value)
    needs.require(replace(config, download=True))


def test_use_vggt_is_an_alias_of_the_option(owners):
    config = replace(_config(owners), use_vggt=True)
    assert camera_search.describe(config)["point_map"] == "VGGT"
    needs.require(config)
    (owners / "weights/facebook/VGGT-1B/config.json").unlink()
    with pytest.raises(Unavailable, match=r"^--use_vggt: weights of facebook/VGGT-1B"):
        needs.require(config)
    with pytest.raises(Unavailable, match="leave one of them out"):
        needs.require(replace(_config(owners, point_map="dust3r"), use_vggt=True))


def test_dust3r_without_its_submodule_is_an_error(owners):
    (owners / "packages/croco/models/croco.py").unlink()
    (owners / "packages/croco/models").rmdir()
    with pytest.raises(Unavailable, match=r"croco is missing beside dust3r; git -C .* submodule update"):
        needs.require(_config(owners, point_map="dust3r"))


def test_default_needs_no_weights_and_imports_no_networks(tmp_path):
    before = set(sys.modules)
    needs.require(FAST)
    assert needs.version(FAST) == ""
    loaded = learned_parts.LearnedParts.load(FAST)
    assert loaded.similarity == ImageAgreement()
    assert loaded.proposers == [FlowPnpProposer()]
    assert "no weights" in camera_search.describe(FAST)["similarity"]
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {"vggt", "dust3r", "dreamsim", "timm"}


def test_vggt_is_called_as_its_owner_calls_it(owners, capsys):
    network = vggt.VggtPointMap(_config(owners))
    pictures = torch.rand(3, 3, 518, 518)
    torch.manual_seed(3)
    maps = network.predict(pictures)
    again = network.predict(pictures)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.rand(1), expected)  # the owner's seed does not change the global state
    assert torch.equal(maps.points, again.points)
    assert maps.points.shape == (3, 518, 518, 3)
    assert maps.points.dtype == torch.float32
    # 2 is the fake weights' value; both points are below 4, so each is rounded to bfloat16 by at most 2**-7.
    expected = 2 * (pictures[1] - pictures[0]).permute(1, 2, 0)
    torch.testing.assert_close(maps.points[1] - maps.points[0], expected, atol=2**-6 + 1e-5, rtol=0)
    torch.testing.assert_close(maps.confidence, 1 + pictures.mean(1))
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"expected pictures \(N, 3, 518, 518\), got \(3, 3, 512, 512\)"):
        network.predict(pictures[..., :512, :512])


def test_dust3r_is_called_as_its_owner_calls_it(owners):
    network = dust3r.Dust3rPointMap(_config(owners))
    pictures = torch.rand(3, 3, 32, 48)
    maps, again = network.predict(pictures), network.predict(pictures)
    assert torch.equal(maps.points, again.points)
    shift = maps.points - (pictures.permute(0, 2, 3, 1) * 2 - 1)
    torch.testing.assert_close(shift, shift[:1, :1, :1].expand_as(shift), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps.confidence, 1 + (pictures * 2 - 1).abs().mean(1))
    with pytest.raises(ValueError, match=r"expected pictures \(N, 3, 16 h, 16 w\)"):
        network.predict(pictures[..., :30])


@pytest.mark.parametrize("module", ["vggt", "dust3r", "dreamsim"])
def test_unreadable_weights_are_an_error(owners, module):
    if module == "dreamsim":
        (owners / "packages/dreamsim/__init__.py").write_text("raise OSError('broken')")
    else:
        (
            owners
            / "weights"
            / {"vggt": needs.VGGT, "dust3r": needs.DUST3R}[module].weights[0].repository
            / "model.safetensors"
        ).write_text("?")
    search = {"similarity": "dreamsim"} if module == "dreamsim" else {"point_map": module}
    with pytest.raises(Unavailable, match=r"cannot be loaded from .*(could not convert|broken)"):
        learned_parts.LearnedParts.load(_config(owners, **search))


def test_other_weights_are_another_version(owners):
    for search, file in (
        ({"point_map": "vggt"}, "facebook/VGGT-1B/model.safetensors"),
        ({"point_map": "dust3r"}, "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt/model.safetensors"),
        ({"similarity": "dreamsim"}, "dreamsim/clip_vitb16_pretrain.pth.tar"),
    ):
        config = _config(owners, **search)
        first = needs.version(config)
        assert first == needs.version(config) != ""
        (owners / "weights" / file).write_text("of another size")
        assert needs.version(config) != first


def _pictures(*columns, size=64):
    color, mask = torch.zeros(len(columns), size, size, 3), torch.zeros(len(columns), size, size, 1)
    for index, column in enumerate(columns):
        mask[index, 16:48, column : column + 24] = 1
        color[index, 16:48, column : column + 24] = torch.tensor([0.9, 0.5, 0.1])
    return MaskedImages(color, mask)


def test_dreamsim_similarity_falls_with_displacement(owners):
    similarity = DreamSimilarity.load(_config(owners, similarity="dreamsim"))
    scores = similarity.score(_pictures(20, 24, 36), _pictures(20))
    assert float(scores[0]) == pytest.approx(1, abs=1e-5)
    assert scores[0] > scores[1] > scores[2]
    with pytest.raises(ValueError, match="one reference of the renders' size"):
        similarity.score(_pictures(20), _pictures(20, 24))


def test_dreamsim_score_equals_v2m4s(owners):
    similarity = DreamSimilarity.load(_config(owners, similarity="dreamsim"))
    renders, reference = _pictures(20, 30, size=224), _pictures(24, size=224)
    mask = reference.mask[0, ..., 0]
    for index in range(2):
        picture = (renders.color[index] * mask[..., None]).permute(2, 0, 1)[None]
        distance = float(similarity.network(picture, reference.color.permute(0, 3, 1, 2)))
        difference = float((renders.mask[index, ..., 0] - mask).square().mean() * mask.numel() / mask.sum())
        score = float(similarity.score(renders, reference)[index])
        assert score == pytest.approx(1 - distance - 0.1 * difference, abs=1e-4)


def test_a_stage_runs_with_all_learned_parts(owners, creature, camera_of, monkeypatch):
    monkeypatch.setattr(vggt, "SIZE", 64)
    monkeypatch.setattr(vggt.VggtPointMap, "size", 64)
    small = SearchConfig("dreamsim", "vggt", samples=16, islands=1, particles=3, swarm_steps=1, refined=1, size=32)
    config = replace(_config(owners), search=small)
    truth = Orbit.of(0.3, 0.2, 2.4)
    frames = [camera_of(creature, truth, 96)]
    workspace = Workspace(owners / "clip")
    (posed,) = camera_search.run(frames, [Asset(creature, truth)], workspace, config)
    assert posed.score > 0.9
    loaded = learned_parts.LearnedParts.load(config)
    assert isinstance(loaded.proposers[0], PointMapProposer)
    monkeypatch.setattr(learned_parts.LearnedParts, "load", lambda config: pytest.fail("loaded for nothing"))
    camera_search.run(frames, [Asset(creature, truth)], Workspace(owners / "clip"), config)
