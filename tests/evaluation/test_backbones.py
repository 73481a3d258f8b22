"""Loading the networks: what is missing is named, real packages load files of the owners' form, nothing is fetched.

Weights here are random: what is tested is that files, names, shapes and the preparation of pictures are the owners'.
"""

import importlib
import importlib.util
import socket
import types

import pytest
import torch

from evaluation import backbones
from evaluation.backbones import (
    CLIP_FILES,
    CLIP_MODEL,
    I3D_FILE,
    VGG_FILE,
    BackboneError,
    load_backbones,
    load_clip,
    load_dreamsim,
    load_i3d,
    load_lpips,
)
from evaluation.learned_metrics import LEARNED
from v2m4 import dreamsim

CPU = torch.device("cpu")
SMALL_CLIP = "ViT-S-32-alt"


class SmallDetector(torch.nn.Module):
    """Called as StyleGAN-V's I3D is; four features that tell how it was called and what it saw."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False):
        flags = torch.tensor([float(rescale), float(resize), float(return_features), float(x.shape[-1])])
        return torch.cat([flags.expand(x.shape[0], 4), self.scale * x.mean(4).mean(3).flatten(1)], 1)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Empty caches, an empty working folder, and no network: whoever asks for one fails the test."""

    def refuse(*arguments, **options):
        raise AssertionError(f"asked for the network: {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(backbones, "_cached_files", lambda repository, names: [])
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def torchvision():
    """torchvision beside a torch without its compiled operators, as on a machine without CUDA; skips where absent."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision")
    try:
        yield importlib.import_module("torchvision")
    except RuntimeError:  # PyPI's wheel is for CUDA: declare the operators that it registers fake kernels for
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        module = importlib.import_module("torchvision")
        module.extension._has_ops = lambda: True
        yield module


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 96, 96, generator=generator), torch.rand(2, 3, 96, 96, generator=generator)


def test_what_is_missing_is_named_with_its_source_and_its_place(weights):
    loaded = load_backbones(LEARNED, weights, CPU)
    assert (loaded.frames, loaded.videos) == ({}, None)
    assert tuple(loaded.missing) == LEARNED
    for metric, words in {
        "fvd": (I3D_FILE, "https://www.dropbox.com/", str(weights)),
        "lpips": (VGG_FILE, "https://download.pytorch.org/models/", str(weights)),
        "dreamsim": (*(name for part in dreamsim.PARTS for name in part.split("|")), str(weights / "dreamsim")),
        "clip": (*CLIP_FILES, "https://huggingface.co/laion/", str(weights / CLIP_MODEL)),
    }.items():
        assert all(word in loaded.missing[metric] for word in words), loaded.missing[metric]
        assert "\n" not in loaded.missing[metric]


def test_without_a_folder_the_cache_and_the_option_are_named(tmp_path):
    missing = load_backbones(LEARNED, None, CPU).missing
    for metric in ("fvd", "lpips"):
        assert f"into {tmp_path / 'hub' / 'checkpoints'} or into --weights_dir" in missing[metric]
    assert "into models (or --weights_dir's folder dreamsim)" in missing["dreamsim"]
    assert "--weights_dir" in missing["clip"]


@pytest.mark.parametrize(
    ("metric", "package", "pip"),
    [
        ("lpips", "lpips", "pip install lpips torchvision"),
        ("dreamsim", "dreamsim", "pip install dreamsim"),
        ("clip", "open_clip", "pip install open_clip_torch"),
    ],
)
def test_a_missing_package_is_named_together_with_missing_weights(monkeypatch, metric, package, pip):
    def absent(name):
        assert name == package
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", absent)
    why = load_backbones([metric], None, CPU).missing[metric]
    assert why.startswith(f"{pip} (package {package} cannot be imported")
    assert "; put " in why


def test_only_what_was_asked_for_is_loaded(weights):
    assert tuple(load_backbones(["lpips"], weights, CPU).missing) == ("lpips",)


@pytest.mark.parametrize("place", ["weights", "hub/checkpoints"])
def test_i3d_is_loaded_and_called_as_its_owner_calls_it(tmp_path, weights, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    torch.jit.script(SmallDetector()).save(str(tmp_path / place / I3D_FILE))
    clips = torch.rand(2, 3, 11, 96, 96)
    found = load_i3d(weights, CPU)(clips)
    assert found[:, :4].tolist() == [[0, 0, 1, 224]] * 2  # no rescale, no resize, features
    frames = torch.nn.functional.interpolate(clips[1], (224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[1, 4:], 2 * (frames * 2 - 1).mean((2, 3)).flatten())


def test_i3d_in_the_users_folder_comes_first(tmp_path, weights):
    for folder, scale in ((weights, 5.0), (tmp_path / "hub" / "checkpoints", 7.0)):
        folder.mkdir(parents=True, exist_ok=True)
        detector = SmallDetector()
        detector.scale.data.fill_(scale)
        torch.jit.script(detector).save(str(folder / I3D_FILE))
    assert load_i3d(weights, CPU)(torch.ones(1, 3, 10, 32, 32))[0, -1].item() == pytest.approx(5)


def test_a_broken_file_is_named(weights):
    (weights / I3D_FILE).write_bytes(b"<html>not found</html>")
    with pytest.raises(BackboneError, match=rf"{I3D_FILE}: cannot be loaded \(\w+: "):
        load_i3d(weights, CPU)


@pytest.fixture
def vgg(torchvision):
    """VGG-16's convolutions with random weights, as torchvision's file names them."""
    torch.manual_seed(0)
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    return layers, {f"features.{name}": value for name, value in layers.state_dict().items()}


def test_lpips_equals_the_package_with_its_own_loading(monkeypatch, weights, pictures, vgg):
    lpips = pytest.importorskip("lpips")
    layers, state = vgg
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, weights / VGG_FILE)
    metric = load_lpips(weights, CPU)
    made = types.SimpleNamespace(features=layers)
    monkeypatch.setattr(lpips.pretrained_networks.tv, "vgg16", lambda **options: made)
    owner = lpips.LPIPS(net="vgg", spatial=True, verbose=False)
    truth, result = pictures
    with torch.no_grad():
        expected = [owner(a[None] * 2 - 1, b[None] * 2 - 1).mean() for a, b in zip(truth, result, strict=True)]
        torch.testing.assert_close(metric(truth, result), torch.stack(expected))
        assert metric(truth, truth).tolist() == [0, 0]
    assert min(expected) > 0.01


def test_lpips_names_a_file_of_another_network(weights, vgg):
    pytest.importorskip("lpips")
    torch.save({"conv1.weight": torch.zeros(1)}, weights / VGG_FILE)
    with pytest.raises(BackboneError, match=rf"{VGG_FILE}: cannot be loaded \(KeyError: 'features.0.weight'"):
        load_lpips(weights, CPU)


@pytest.mark.parametrize("name", CLIP_FILES)
def test_clip_equals_the_owners_steps(torchvision, weights, pictures, name):
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    made, _, prepare = open_clip.create_model_and_transforms(SMALL_CLIP)
    (weights / SMALL_CLIP).mkdir()
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors.torch").save_file(made.state_dict(), weights / SMALL_CLIP / name)
    else:
        torch.save(made.state_dict(), weights / SMALL_CLIP / name)
    truth, result = ((side * 255).round() / 255 for side in pictures)
    metric, to_picture = load_clip(weights, CPU, SMALL_CLIP), torchvision.transforms.ToPILImage()
    with torch.no_grad():
        embeddings = [
            [made.eval().encode_image(prepare(to_picture(p))[None])[0] for p in side] for side in (truth, result)
        ]
        expected = [torch.cosine_similarity(a, b, dim=0) for a, b in zip(*embeddings, strict=True)]
        torch.testing.assert_close(metric(truth, result), torch.stack(expected), atol=1e-5, rtol=0)
        torch.testing.assert_close(metric(truth, truth), torch.ones(2))
    assert max(expected) < 0.9999


def test_clip_names_a_model_that_is_not_there(torchvision, weights):
    pytest.importorskip("open_clip")
    (weights / "ViT-Z").mkdir()
    (weights / "ViT-Z" / CLIP_FILES[0]).touch()
    with pytest.raises(BackboneError, match="'ViT-Z' not found"):
        load_clip(weights, CPU, "ViT-Z")


def save_random_dreamsim(folder):
    """The parts of DreamSim's ensemble with random weights, as its checkpoint and DINO's repository name them."""
    from dreamsim.feature_extraction.vision_transformer import DINOHead, vit_base
    from dreamsim.model import PerceptualModel, dreamsim_args
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    (folder / "checkpoints").mkdir(parents=True)
    code = folder / "facebookresearch_dino_main"
    code.mkdir()
    (code / "hubconf.py").write_text(
        "import torch\nfrom dreamsim.feature_extraction.vision_transformer import vit_base\n"
        "def dino_vitb16(pretrained=True, **kwargs):\n"
        "    model = vit_base(patch_size=16, num_classes=0)\n"
        "    url = 'https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth'\n"
        "    model.load_state_dict(torch.hub.load_state_dict_from_url(url, map_location='cpu'))\n"
        "    return model\n"
    )
    torch.save(vit_base(patch_size=16, num_classes=0).state_dict(), folder / "checkpoints/dino_vitbase16_pretrain.pth")
    head = {f"module.head.{name}": value for name, value in DINOHead(768, 2048).state_dict().items()}
    head["module.head.last_layer.weight"] = torch.zeros(2048, 256)
    torch.save({"student": head}, folder / "dino_vitb16_pretrain.pth")
    for name in ("clip", "open_clip"):
        tower = vit_base(patch_size=16)
        tower.pos_drop = torch.nn.LayerNorm(768)
        state = tower.state_dict() | {"proj": torch.randn(768, 512) / 28}
        torch.save({"state_dict": state}, folder / f"{name}_vitb16_pretrain.pth.tar")
    ensemble = dreamsim_args["model_config"]["ensemble"]
    plain = PerceptualModel(**ensemble, device="cpu", load_dir=str(folder), normalize_embeds=True)
    adapted = get_peft_model(plain, LoraConfig(r=4, lora_alpha=2, target_modules=["qkv"], init_lora_weights=False))
    adapted.save_pretrained(folder / "ensemble_lora")
    return adapted.eval()


@pytest.mark.slow
def test_dreamsim_loads_its_ensemble_and_equals_the_owners_steps(torchvision, weights):
    pytest.importorskip("dreamsim")
    owner = save_random_dreamsim(weights / "dreamsim")
    torch.hub.set_dir(str(weights))
    metric = load_dreamsim(weights, CPU)
    assert torch.hub.get_dir() == str(weights)
    resize = torchvision.transforms.Resize((224, 224))
    generator = torch.Generator().manual_seed(0)
    truth, result = (
        torch.rand(2, 2, 3, 300, 300, generator=generator) ** torch.tensor([1.0, 2.0])[:, None, None, None, None]
    )
    with torch.no_grad():
        expected = [owner(resize(a)[None], resize(b)[None])[0] for a, b in zip(truth, result, strict=True)]
        torch.testing.assert_close(metric(truth, result), torch.stack(expected), atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(metric(truth, truth), torch.zeros(2), atol=1e-5, rtol=0)
        with owner.disable_adapter():
            assert abs(owner(resize(truth[:1]), resize(result[:1]))[0] - expected[0]) > 1e-3  # LoRA matters
    (weights / "dreamsim" / "facebookresearch_dino_main" / "hubconf.py").unlink()  # the package would download it
    with pytest.raises(BackboneError, match=r"put into .*dreamsim from https.*: facebookresearch_dino_main/hubconf.py"):
        load_dreamsim(weights, CPU)
