"""Load the networks of the learned metrics from local weights. Nothing is ever downloaded.

Files are looked for in ``--weights_dir`` first, then where the packages keep what they fetch themselves:

| metric | pip | in the weights folder | else |
| --- | --- | --- | --- |
| fvd | | i3d_torchscript.pt | torch hub's checkpoints/ |
| lpips | lpips torchvision | vgg16-397923af.pth | torch hub's checkpoints/ |
| dreamsim | dreamsim | dreamsim/, its parts as in ``v2m4.dreamsim.PARTS`` | ./models/, the package's own default |
| clip | open_clip_torch | <clip_model>/open_clip_model.safetensors or open_clip_pytorch_model.bin | Hugging Face's |

A missing package or file is a ``BackboneError`` that says what to install or which file to put where.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.learned_metrics import LEARNED, Backbones, FrameMetric, VideoFeatures
from v2m4 import dreamsim, lpips
from v2m4.lpips import VGG_FILE, VGG_SOURCE
from v2m4.weights import Unavailable

CLIP_MODEL = "ViT-bigG-14"  # V2M4's
CLIP_REPOSITORY = "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
I3D_FILE, I3D_SOURCE = "i3d_torchscript.pt", "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1"
NETWORK_SIZE = 224  # pixels that I3D and DreamSim see


class BackboneError(RuntimeError):
    """A metric's network is missing; the message says in one line what to install or which file to put where."""


def load_backbones(
    metrics: Sequence[str], weights_dir: Path | None, device: torch.device, clip_model: str = CLIP_MODEL
) -> Backbones:
    """Load the networks of some metrics; for missing ones the result holds the reason.

    Args:
        metrics: any of ``LEARNED``.
        weights_dir: the weights folder of the table above, or None.
        device: where the networks run.
        clip_model: open_clip's name of the CLIP model.
    """
    loaders: dict[str, Callable[[], FrameMetric]] = {
        "lpips": lambda: load_lpips(weights_dir, device),
        "dreamsim": lambda: load_dreamsim(weights_dir, device),
        "clip": lambda: load_clip(weights_dir, device, clip_model),
    }
    frames: dict[str, FrameMetric] = {}
    missing: dict[str, str] = {}
    videos = None
    for metric in (name for name in LEARNED if name in metrics):
        try:
            if metric == "fvd":
                videos = load_i3d(weights_dir, device)
            else:
                frames[metric] = loaders[metric]()
        except BackboneError as error:
            missing[metric] = str(error)
    return Backbones(device, frames, videos, missing)


def load_i3d(weights_dir: Path | None, device: torch.device) -> VideoFeatures:
    """FVD's network: I3D of Kinetics-400 as StyleGAN-V ported it to TorchScript; its 400 logits are the features.

    Pictures are resized to 224 x 224 (bilinear, not antialiased, as there) and scaled to [-1, 1]; clips need 10 frames.

    Raises:
        BackboneError: no weights.
    """
    file = _hub_file(weights_dir, I3D_FILE, I3D_SOURCE)
    with _reading(file):
        network = torch.jit.load(str(file), map_location=device).eval()

    def features(clips: Tensor) -> Tensor:
        count, channels, frames = clips.shape[:3]
        pictures = clips.transpose(1, 2).flatten(0, 1)
        pictures = torch.nn.functional.interpolate(pictures, (NETWORK_SIZE,) * 2, mode="bilinear", align_corners=False)
        scaled = (pictures.reshape(count, frames, channels, *pictures.shape[2:]).transpose(1, 2) - 0.5) * 2
        return network(x=scaled.contiguous(), rescale=False, resize=False, return_features=True)

    return features


def load_lpips(weights_dir: Path | None, device: torch.device) -> FrameMetric:
    """LPIPS v0.1 on VGG-16, the mean of its map over the pixels. The package ships the linear layers, not the trunk.

    Raises:
        BackboneError: no package or no weights.
    """
    _, file = _collect(
        lambda: _package("lpips", "lpips torchvision"), lambda: _hub_file(weights_dir, VGG_FILE, VGG_SOURCE)
    )
    with _reading(file):
        network = lpips.build(file)
    network = network.to(device)
    return lambda truth, result: lpips.distance(network, truth, result)


def load_dreamsim(weights_dir: Path | None, device: torch.device) -> FrameMetric:
    """DreamSim's ensemble (DINO, CLIP, OpenCLIP, all ViT-B/16, with LoRA), on pictures averaged down to 224 x 224.

    Raises:
        BackboneError: no package or no weights.
    """
    _, folder = _collect(
        lambda: _package("dreamsim", "dreamsim"), lambda: _dreamsim_folder(dreamsim.folders(weights_dir))
    )
    try:
        network = dreamsim.load(folder, device)
    except Unavailable as error:
        raise BackboneError(str(error)) from error

    def distance(truth: Tensor, result: Tensor) -> Tensor:
        size = (NETWORK_SIZE,) * 2
        small = [
            torch.nn.functional.interpolate(side, size, mode="bilinear", align_corners=False, antialias=True)
            for side in (truth, result)
        ]
        return network(*small)

    return distance


def load_clip(weights_dir: Path | None, device: torch.device, model: str = CLIP_MODEL) -> FrameMetric:
    """Cosine between the image embeddings of truth and result, pictures prepared by open_clip itself (8 bit).

    Raises:
        BackboneError: no package, no such model or no weights.
    """
    package, file = _collect(lambda: _package("open_clip", "open_clip_torch"), lambda: _clip_file(weights_dir, model))
    with _reading(file):
        network, _, prepare = package.create_model_and_transforms(model, pretrained=str(file))
    network = network.eval().to(device)
    from PIL import Image

    def embed(pictures: Tensor) -> Tensor:
        arrays = (pictures * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        batch = torch.stack([prepare(Image.fromarray(np.ascontiguousarray(array))) for array in arrays]).to(device)
        return network.encode_image(batch)

    return lambda truth, result: torch.nn.functional.cosine_similarity(embed(truth), embed(result), dim=-1)


def _collect(*steps: Callable[[], Any]) -> list[Any]:
    """Results of all steps; the errors of all that fail are one error, so that package and weights are named at once.

    Raises:
        BackboneError: a step failed.
    """
    results, errors = [], []
    for step in steps:
        try:
            results.append(step())
        except BackboneError as error:
            errors.append(str(error))
    if errors:
        raise BackboneError("; ".join(errors))
    return results


def _package(name: str, pip: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision of another build than torch raises RuntimeError
        raise BackboneError(f"pip install {pip} (package {name} cannot be imported: {_one_line(error)})") from error


def _hub_file(weights_dir: Path | None, name: str, source: str) -> Path:
    """A single weights file: the user's, else the one in torch hub's cache.

    Raises:
        BackboneError: there is none.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    for folder in (cache,) if weights_dir is None else (weights_dir, cache):
        if (folder / name).is_file():
            return folder / name
    raise BackboneError(f"put {name} from {source} into {weights_dir or f'{cache} or into --weights_dir'}")


def _clip_file(weights_dir: Path | None, model: str) -> Path:
    """The weights of a CLIP model: the user's, else (V2M4's model only) those in Hugging Face's cache.

    Raises:
        BackboneError: there are none.
    """
    folder = (weights_dir or Path("WEIGHTS_DIR")) / model
    source = "where the model is published"
    files = [folder / name for name in CLIP_FILES]
    if model == CLIP_MODEL:
        source = f"https://huggingface.co/{CLIP_REPOSITORY}"
        files += _cached_files(CLIP_REPOSITORY, CLIP_FILES)
    for file in files:
        if file.is_file():
            return file
    option = "" if weights_dir else " and give --weights_dir WEIGHTS_DIR"
    raise BackboneError(f"put {' or '.join(CLIP_FILES)} from {source} into {folder}{option}")


def _cached_files(repository: str, names: Sequence[str]) -> list[Path]:
    """The files of a repository in the local Hugging Face cache; the hub is not contacted."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:  # it comes with open_clip, whose absence is an error of its own
        return []
    results = [try_to_load_from_cache(repository, name) for name in names]
    return [Path(file) for file in results if isinstance(file, str)]


def _dreamsim_folder(folders: Sequence[Path]) -> Path:
    """The first folder with all of DreamSim's files, since the package would download missing ones.

    Raises:
        BackboneError: there is none.
    """
    for folder in folders:
        if not dreamsim.lacking(folder):
            return folder.resolve()
    destination = folders[0] if len(folders) > 1 else f"{folders[0]} (or --weights_dir's folder dreamsim)"
    raise BackboneError(f"put into {destination} {dreamsim.lacking(folders[0])}")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error of a loader at a broken or foreign file into one ``BackboneError`` that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the owners' packages call deprecated names: nothing a user could mend
            yield
    except Exception as error:  # pickle, zip, safetensors, key and shape errors: each loader has its own
        raise BackboneError(f"{path}: cannot be loaded ({_one_line(error)})") from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
