"""The configuration of a training run: a YAML file or a preset, and overrides such as ``training.lr=1e-4``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from motion324.config import MotionConfig, preset
from motion324.dataset import DataConfig

CONFIGS = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained; the defaults are the published values.

    Attributes:
        batch_size_per_gpu: samples of a step and process.
        grad_accum_steps: steps of the batch size whose gradients are added up before the weights change.
        lr: highest learning rate, of AdamW; with ``muon``, of the matrices inside of the network.
        optimizer: ``adamw``, or ``muon`` for the matrices inside of the network and AdamW at a tenth for the rest.
        beta1: of AdamW.
        beta2: of AdamW.
        weight_decay: decoupled, not of biases and norms.
        warmup: steps over which the learning rate rises.
        train_steps: steps of the schedule: a half cosine down to ``last_lr``.
        minutes: length of the schedule instead of ``train_steps``, in minutes of training; 0 for steps.
        last_lr: learning rate at the end, relative to the highest.
        grad_clip_norm: of the gradient's norm.
        loss: ``mse`` of positions (published), ``distance`` or ``relative``; see ``trainer.loss_of``.
        use_checkpoint: recompute activations in the backward pass.
        amp_dtype: ``bf16`` or ``fp32``.
        average: memory of the weights' moving average, steps; 0 for none.
        checkpoint_every: steps between two states on the disk.
        validate_every: steps between two validations.
        print_every: steps between two lines of the log.
        tensorboard: write event files, where the package is installed.
        wandb_project: project at Weights & Biases, whose package is needed; empty for none.
        seed: of weights and batches.
    """

    batch_size_per_gpu: int = 16
    grad_accum_steps: int = 1
    lr: float = 4e-4
    optimizer: Literal["adamw", "muon"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.05
    warmup: int = 1000
    train_steps: int = 60000
    minutes: float = 0.0
    last_lr: float = 0.02
    grad_clip_norm: float = 1.0
    loss: Literal["mse", "distance", "relative"] = "mse"
    use_checkpoint: bool = True
    amp_dtype: Literal["bf16", "fp32"] = "bf16"
    average: int = 1000
    checkpoint_every: int = 2000
    validate_every: int = 1000
    print_every: int = 20
    tensorboard: bool = True
    wandb_project: str = ""
    seed: int = 0


@dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    model: MotionConfig = field(default_factory=MotionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def as_dict(self) -> dict[str, Any]:
        """Nested fields by name."""
        return asdict(self)


def read_run_config(name: str, overrides: list[str]) -> RunConfig:
    """A run's configuration.

    Args:
        name: path of a YAML file, or the name of one in ``motion324/configs`` (``tiny``, ``base``).
        overrides: ``section.field=value``, values as in YAML.

    Raises:
        ValueError: the file is not of this kind, or an override names nothing.
        FileNotFoundError: there is no such file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise FileNotFoundError(f"{path}: no such file; --config takes a YAML file, or one of {known}")
    values = yaml.safe_load(path.read_text("utf-8")) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected sections model, data and training")
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"{override}: expected section.field=value")
        *sections, last = key.strip().split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = yaml.safe_load(text)
    model = dict(values.pop("model", None) or {})
    sizes = preset(model.pop("preset", "base"))
    return _merged(RunConfig(model=sizes), values | {"model": model}, path.name)


def _merged(base: Any, values: Any, where: str) -> Any:
    """A dataclass with some of its fields replaced, nested ones too; numbers become the field's type."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected fields by name, got {values!r}")
    known = {item.name: getattr(base, item.name) for item in fields(base)}
    changed = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{where}: no field {name!r}; there are {', '.join(known)}")
        old = known[name]
        if is_dataclass(old):
            changed[name] = _merged(old, value, f"{where}: {name}")
        elif isinstance(old, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
            changed[name] = float(value)  # YAML reads 4e-4 as a string
        elif old is not None and type(old) is not type(value):
            raise ValueError(f"{where}: {name}: expected {type(old).__name__}, got {value!r}")
        else:
            changed[name] = value
    return replace(base, **changed)
