"""What the learned generators need, and MV-Adapter, which paints for two of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from v2m4 import dreamsim, lpips
from v2m4.config import Config
from v2m4.device import NVDIFFRAST
from v2m4.weights import Needs, Package, Unavailable, Weights, find_weights, torch_hub

OR_NONE = "add --generation.paint none"

# Hunyuan3D-2

HUNYUAN = "tencent/Hunyuan3D-2/hunyuan3d-dit-v2-0"
HUNYUAN_TEXTURE = ("hunyuan3d-delight-v2-0", "hunyuan3d-paint-v2-0")
_RASTERIZER = Package(
    "custom_rasterizer",
    "--generation.paint network needs it: pip install --no-build-isolation "
    '"git+https://github.com/Tencent-Hunyuan/Hunyuan3D-2@9bcf302#subdirectory=hy3dgen/texgen/custom_rasterizer", '
    f"or {OR_NONE}",
)
# From here on diffusers wants the pipeline inside hy3dgen declared as trusted, which its owner does not.
TRUSTING = (0, 38)

# MV-Adapter

SDXL = Weights(
    "stabilityai/stable-diffusion-xl-base-1.0",
    ("model_index.json", "unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    ("*.json", "*.txt", "unet/*fp16.safetensors", "text_encoder*/*fp16.safetensors"),
)
SDXL_VAE = Weights(
    "madebyollin/sdxl-vae-fp16-fix", ("config.json",), ("config.json", "diffusion_pytorch_model.safetensors")
)
ADAPTER = Weights("huanngzh/mv-adapter", ("mvadapter_ig2mv_sdxl.safetensors",), ("mvadapter_ig2mv_sdxl.safetensors",))
UPSCALER = Weights("dtarnow/UPscaler", ("RealESRGAN_x2plus.pth",), ("RealESRGAN_x2plus.pth",))
INPAINTER = "big-lama.pt"
INPAINTER_AT = "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt"

# The others

TRIPOSG_PARTS = ("vae", "transformer", "scheduler", "image_encoder_dinov2", "feature_extractor_dinov2")
CRAFTSMAN_FILES = ("config.yaml", "model.ckpt")
ENCODERS = {  # CraftsMan3D's nicknames for repositories
    "dinov2base": "facebook/dinov2-base",
    "dinov2regbase": "facebook/dinov2-with-registers-base",
    "dinov2reglarge": "facebook/dinov2-with-registers-large",
}
_TRELLIS = (
    "git clone --recurse-submodules https://github.com/microsoft/TRELLIS && git -C TRELLIS checkout 6b0d647 && "
    "cd TRELLIS && . ./setup.sh --basic --xformers --spconv --mipgaussian --kaolin --nvdiffrast, "
    "then put the clone on PYTHONPATH"
)
PRIOR = Path(__file__).resolve().parents[2] / "generators" / "prior" / "weights.safetensors"
DINO_CODE, DINO_FILE = "facebookresearch_dinov2_main", "checkpoints/dinov2_vitl14_reg4_pretrain.pth"


def require(config: Config) -> None:
    """Refuse, before any work, a generator that lacks something here.

    Raises:
        Unavailable: in one line, the option, what is missing and what to do.
    """
    try:
        check(config.model, config)
    except Unavailable as error:
        raise Unavailable(f"--model {config.model}: {error}") from error
    if config.generation.refine == "networks":
        try:
            dreamsim.check(config)
            lpips.check(config)
        except Unavailable as error:
            raise Unavailable(f"--generation.refine networks: {error}") from error


def check(name: str, config: Config) -> None:
    """As ``require``, for any generator; the message does not name the option."""
    needs = needs_of(name, config)
    if config.generation.paint == "network" and name in PAINTERS:
        needs = [*needs, *PAINTERS[name]()]
    for part in needs:
        part.check(config)


def needs_of(name: str, config: Config) -> list[Needs]:
    """What a generator itself needs, in the order in which it is asked for; nothing where it is not learned."""
    return LEARNED[name](config) if name in LEARNED else []


def _hunyuan(config: Config) -> list[Needs]:
    package = Package("hy3dgen", 'pip install hy3dgen==2.0.2 "diffusers<0.38"')
    return [Needs((package,), weights=(_hunyuan_shape(config),))]


def hunyuan_subfolder(config: Config) -> str:
    """The folder of the shape network in its repository."""
    return _split(config.generation.weights or HUNYUAN)[1]


def _split(name: str) -> tuple[str, str]:
    """Repository and folder in it, of ``owner/name/folder`` or of an absolute path to the folder."""
    parts = name.split("/")
    return (
        (str(Path(name).parent), Path(name).name)
        if Path(name).is_absolute()
        else ("/".join(parts[:2]), "/".join(parts[2:]))
    )


def _hunyuan_shape(config: Config) -> Weights:
    """Which files the shape pipeline loads.

    Raises:
        Unavailable: ``--generation.weights`` names no sub-folder of a repository.
    """
    repository, folder = _split(config.generation.weights or HUNYUAN)
    if not folder:
        raise Unavailable(f"--generation.weights {config.generation.weights}: expected owner/name/sub-folder")
    files = (f"{folder}/config.yaml", f"{folder}/model.fp16.safetensors")
    return Weights(repository, files, files, _owners_places(repository))


def hunyuan_texture() -> Needs:
    """What its texture network needs, beside a GPU."""
    repository = "/".join(HUNYUAN.split("/")[:2])
    files = tuple(f"{folder}/model_index.json" for folder in HUNYUAN_TEXTURE)
    patterns = tuple(f"{folder}/*" for folder in HUNYUAN_TEXTURE)
    weights = Weights(repository, files, patterns, _owners_places(repository))
    return Needs((_RASTERIZER,), weights=(weights,), further=_require_trusting_diffusers)


def _owners_places(repository: str) -> tuple[Path, ...]:
    """Where the owner's own loader looks first."""
    return (Path(os.environ.get("HY3DGEN_MODELS", "~/.cache/hy3dgen")).expanduser() / repository,)


def _require_trusting_diffusers(config: Config) -> None:
    """Refuse a diffusers that cannot load the texture network.

    Raises:
        Unavailable: with the command that installs another.
    """
    found = metadata.version("diffusers")
    if tuple(int(part) for part in found.split(".")[:2]) >= TRUSTING:
        raise Unavailable(
            f'diffusers {found} does not load the texture network of hy3dgen 2.0.2; pip install "diffusers<0.38", '
            f"or {OR_NONE}"
        )


def _triposg(config: Config) -> list[Needs]:
    install = (
        "git clone https://github.com/VAST-AI-Research/TripoSG && git -C TripoSG checkout fc5c409 && "
        "pip install diffusers transformers accelerate einops jaxtyping typeguard peft, "
        "then put the clone on PYTHONPATH"
    )
    diso = "TripoSG takes its surface with it: pip install --no-build-isolation diso (needs a CUDA toolkit)"
    return [
        Needs(
            (Package("triposg", install), Package("diso", diso)),
            gpu="it takes its surface with CUDA code; it needs a GPU",
            weights=(Weights(config.generation.weights or "VAST-AI/TripoSG", ("model_index.json", *TRIPOSG_PARTS)),),
        )
    ]


def _craftsman(config: Config) -> list[Needs]:
    install = (
        "git clone https://github.com/wyysf-98/CraftsMan3D && git -C CraftsMan3D checkout 1626675 && "
        "pip install diffusers transformers omegaconf einops jaxtyping typeguard timm pytorch-lightning wandb "
        '"rembg[cpu]", then put the clone on PYTHONPATH'
    )
    name = config.generation.weights or "craftsman3d/craftsman-DoraVAE"
    weights = Weights(name, CRAFTSMAN_FILES, CRAFTSMAN_FILES)
    folder = find_weights(weights, config)
    encoders = craftsman_encoders(folder) if folder is not None else ()
    return [Needs((Package("craftsman", install),), weights=(weights, *encoders))]


def craftsman_encoders(folder: Path) -> tuple[Weights, ...]:
    """The repositories whose configuration the image encoder is built after."""
    import yaml

    condition = yaml.safe_load((folder / "config.yaml").read_text())["system"].get("condition_model", {})
    names = [condition.get(key) for key in ("pretrained_dino_name_or_path", "pretrained_clip_name_or_path")]
    if condition.get("dino_type"):
        names.append(f"facebook/{condition['dino_type']}")
    nickname = condition.get("pretrained_model_name_or_path") or ""
    names += [repository for part, repository in ENCODERS.items() if part in nickname]
    patterns = ("config.json", "preprocessor_config.json", "model.safetensors")
    return tuple(Weights(name, patterns[:2], patterns) for name in names if name)


def _trellis(config: Config) -> list[Needs]:
    packages = tuple(Package(name, _TRELLIS) for name in ("trellis", "spconv", "kaolin", "nvdiffrast", "utils3d"))
    gpu = "its sparse convolutions are CUDA code; it needs a GPU"
    weights = Weights(config.generation.weights or "microsoft/TRELLIS-image-large", ("pipeline.json", "ckpts"))
    return [Needs(packages, gpu, (weights,), _require_dino), Needs(further=_require_room)]


def hub_folder(config: Config) -> Path:
    """The folder that torch.hub keeps code and weights in: ``<weights_dir>/torch_hub``, if it is there, or its own."""
    own = None if config.weights_dir is None else config.weights_dir / "torch_hub"
    return own if own is not None and own.is_dir() else torch_hub()


def _require_dino(config: Config) -> None:
    """Look for TRELLIS's image encoder.

    Raises:
        Unavailable: names its files and their folder.
    """
    hub = hub_folder(config)
    missing = [name for name in (f"{DINO_CODE}/hubconf.py", DINO_FILE) if not (hub / name).exists()]
    if missing and not config.download:
        raise Unavailable(
            f"weights of facebookresearch/dinov2 are missing: put {', '.join(missing)} into {hub}, "
            "or add --download to fetch them"
        )


def _require_room(config: Config) -> None:
    """Refuse to refine TRELLIS's meshes with one network on the GPU at a time: a gradient passes through three.

    Raises:
        Unavailable: names both options.
    """
    if config.low_vram and config.generation.refine != "no" and not config.baseline:
        raise Unavailable("its refinement has three networks at work; with --low_vram add --generation.refine no")


def inpainter_file(config: Config) -> Path:
    """LaMa's file: it lies on no hub, so beside the upscaler's where the user named no folder."""
    if config.weights_dir is not None:
        return config.weights_dir / INPAINTER
    beside = find_weights(UPSCALER, config)
    return (beside or Path("FOLDER of --weights_dir")) / INPAINTER


def _require_inpainter(config: Config) -> None:
    """Look for LaMa's file.

    Raises:
        Unavailable: names it, where it is had, and where it goes.
    """
    if not inpainter_file(config).is_file():
        raise Unavailable(
            f"weights of MV-Adapter's inpainting are missing: put {INPAINTER} ({INPAINTER_AT}) into "
            f"{inpainter_file(config).parent}, or {OR_NONE}"
        )


MVADAPTER = Needs(
    packages=(
        Package(
            "mvadapter",
            "--generation.paint network needs MV-Adapter: "
            f'pip install "git+https://github.com/huanngzh/MV-Adapter@4277e00", or {OR_NONE}',
        ),
        Package("nvdiffrast", f"MV-Adapter needs it: {NVDIFFRAST}, or {OR_NONE}"),
    ),
    gpu=f"MV-Adapter, its texture network, needs a CUDA GPU; {OR_NONE}",
    weights=(SDXL, SDXL_VAE, ADAPTER, UPSCALER),
    further=_require_inpainter,
)


def _prior(config: Config) -> list[Needs]:
    return [Needs(further=_require_prior)]


def _require_prior(config: Config) -> None:
    """Look for the weights that are part of the program.

    Raises:
        Unavailable: names the file.
    """
    if not PRIOR.is_file():
        raise Unavailable(f"{PRIOR} is missing; install the program again, or use --model Inflate")


LEARNED: dict[str, Callable[[Config], list[Needs]]] = {
    "Hunyuan": _hunyuan,
    "TripoSG": _triposg,
    "Craftsman": _craftsman,
    "TRELLIS": _trellis,
    "Prior": _prior,
}
PAINTERS: dict[str, Callable[[], list[Needs]]] = {  # of those whose texture network can be left out
    "Hunyuan": lambda: [Needs(gpu=f"its texture network needs a CUDA GPU; {OR_NONE}"), hunyuan_texture()],
    "TripoSG": lambda: [MVADAPTER],
    "Craftsman": lambda: [MVADAPTER],
}
