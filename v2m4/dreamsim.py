"""DreamSim, a perceptual similarity: its files, and the loader of its package.

Owner: ssundaram21/dreamsim, ``dreamsim`` 0.2.1 on PyPI; MIT licence. The ensemble: DINO, CLIP and OpenCLIP, all
ViT-B/16, with LoRA. Its loader downloads whatever is missing, so all parts are looked for first; they lie in
``<weights_dir>/dreamsim``, or in ``./models``, the package's own default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from v2m4.config import Config
from v2m4.weights import Package, Unavailable, fingerprint, require_folder, require_packages

if TYPE_CHECKING:  # what it needs is looked for before PyTorch is loaded, which takes seconds
    import torch
    from torch import Tensor, nn

SIZE = 224  # pixels (side) of the pictures that it sees
INSTALL = "pip install dreamsim==0.2.1"  # brings open_clip, peft, timm and torchvision
PACKAGES = tuple(Package(module, INSTALL) for module in ("dreamsim", "open_clip", "peft", "timm", "torchvision"))
RELEASE = (
    "https://github.com/ssundaram21/dreamsim/releases/download/v0.2.0-checkpoints/dreamsim_ensemble_checkpoint.zip"
)
PARTS = {  # where each comes from; alternatives are separated by "|"
    "dino_vitb16_pretrain.pth": RELEASE,
    "clip_vitb16_pretrain.pth.tar": RELEASE,
    "open_clip_vitb16_pretrain.pth.tar": RELEASE,
    "ensemble_lora/adapter_config.json": RELEASE,
    "ensemble_lora/adapter_model.safetensors|ensemble_lora/adapter_model.bin": RELEASE,
    "facebookresearch_dino_main/hubconf.py": "https://github.com/facebookresearch/dino (its main branch, 7c446df)",
    "checkpoints/dino_vitbase16_pretrain.pth": (
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
    ),
}


def check(config: Config) -> None:
    """Check that package and weights are present, without loading them.

    Raises:
        Unavailable: says what to install, or which files to put where.
    """
    require_packages(PACKAGES)
    check_files(config)


def check_files(config: Config) -> None:
    """Check that its weights are on disk.

    Raises:
        Unavailable: says which files to put where.
    """
    require_folder(config)
    places = folders(config.weights_dir)
    if not config.download and all(lacking(place) for place in places):
        wanted = places[0] if config.weights_dir is not None else Path("FOLDER/dreamsim")
        how = "" if config.weights_dir is not None else " and add --weights_dir FOLDER"
        raise Unavailable(
            f"weights of DreamSim are missing: put into {wanted} {lacking(wanted)}{how}, or add --download"
        )


def folders(weights_dir: Path | None) -> list[Path]:
    """Candidate folders of its files, in order."""
    return ([weights_dir / "dreamsim"] if weights_dir is not None else []) + [Path("models")]


def folder_of(config: Config) -> Path:
    """The first folder that holds all parts, else the first: there ``--download`` puts them."""
    places = folders(config.weights_dir)
    return next((place for place in places if not lacking(place)), places[0]).resolve()


def lacking(folder: Path) -> str:
    """What a folder lacks, source by source, to be put there; empty where it holds all parts."""
    by_source: dict[str, list[str]] = {}
    for part, source in PARTS.items():
        if not any((folder / name).is_file() for name in part.split("|")):
            by_source.setdefault(source, []).append(part.replace("|", " or "))
    return "; ".join(f"from {source}: {', '.join(parts)}" for source, parts in by_source.items())


def version(config: Config) -> str:
    """Fingerprint of the copy of the weights on disk."""
    return fingerprint("dreamsim", folder_of(config), [name for part in PARTS for name in part.split("|")])


def load(folder: Path, device: torch.device) -> nn.Module:
    """The owner's network, ready for pictures (B, 3, 224, 224) in [0, 1].

    Raises:
        Unavailable: the files cannot be read, or the package cannot be imported.
    """
    import torch

    from v2m4.owners import loading

    hub = torch.hub.get_dir()
    try:
        with loading("DreamSim", folder):
            from dreamsim import dreamsim

            network, _ = dreamsim(pretrained=True, device=str(device), cache_dir=str(folder))
    finally:
        torch.hub.set_dir(hub)  # the package leaves it at its own folder
    return network


def embedded(network: nn.Module, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Embeddings of stacks of pictures (B, 3, 224, 224), two pictures at least; its distance is 1 - their cosine."""
    import torch

    joined = torch.cat(list(pictures))
    return list(network.embed(joined).split([len(stack) for stack in pictures]))  # type: ignore[operator]
