"""LPIPS, a perceptual distance on VGG-16: its files, and the loader of its package.

Owner: richzhang/PerceptualSimilarity, ``lpips`` 0.1.4 on PyPI; BSD licence. The package ships the linear layers; the
trunk is torchvision's file, which lies in ``<weights_dir>`` or in torch.hub's ``checkpoints``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from v2m4.config import Config
from v2m4.weights import Package, Unavailable, fingerprint, require_folder, require_packages, torch_hub

if TYPE_CHECKING:  # what it needs is looked for before PyTorch is loaded, which takes seconds
    import torch
    from torch import Tensor, nn

INSTALL = "pip install lpips==0.1.4 torchvision"
PACKAGES = (Package("lpips", INSTALL), Package("torchvision", INSTALL))
VGG_FILE, VGG_SOURCE = "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth"


def check(config: Config) -> None:
    """Check that package and weights are present, without loading them.

    Raises:
        Unavailable: says what to install, or which file to put where.
    """
    require_packages(PACKAGES)
    check_files(config)


def check_files(config: Config) -> None:
    """Check that the trunk's weights are on disk.

    Raises:
        Unavailable: says which file to put where.
    """
    require_folder(config)
    file = file_of(config)
    if not config.download and not file.is_file():
        raise Unavailable(f"weights of LPIPS are missing: put {VGG_SOURCE} into {file.parent}, or add --download")


def file_of(config: Config) -> Path:
    """The trunk's file where it lies, else where it goes."""
    places = [config.weights_dir] if config.weights_dir is not None else []
    files = [place / VGG_FILE for place in (*places, torch_hub() / "checkpoints")]
    return next((file for file in files if file.is_file()), files[0])


def version(config: Config) -> str:
    """Fingerprint of the copy of the weights on disk."""
    return fingerprint("lpips", file_of(config).parent, [VGG_FILE])


def load(config: Config, device: torch.device) -> nn.Module:
    """The owner's network; its trunk is fetched where it is missing and the user allows it.

    Raises:
        Unavailable: something is missing, or cannot be loaded.
    """
    import torch

    from v2m4.owners import loading

    check(config)
    file = file_of(config)
    with loading("LPIPS", file):
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(VGG_SOURCE, str(file), progress=False)
        return build(file).to(device)


def build(file: Path) -> nn.Module:
    """LPIPS 0.1 with the trunk that lies in a file; pictures (B, 3, H, W) in [-1, 1] to a map of distances."""
    import lpips
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)
    network = lpips.LPIPS(net="vgg", version="0.1", spatial=True, pnet_rand=True, verbose=False)
    for part in (getattr(network.net, f"slice{index}") for index in range(1, 6)):  # layers keep VGG's numbers
        part.load_state_dict({name: state[f"features.{name}"] for name in part.state_dict()})
    return network.eval().requires_grad_(False)


def distance(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The map's mean for each pair of pictures (B, 3, H, W) in [0, 1], (B,)."""
    return network(first * 2 - 1, second * 2 - 1).mean((1, 2, 3))
