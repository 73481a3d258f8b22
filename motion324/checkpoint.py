"""Checkpoints of the network: our own (safetensors, the configuration inside) and the released one of Motion 3-to-4.

DINOv2's parameters are stored under the names of DINOv2's own code, whatever version of transformers is installed.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from motion324.config import MotionConfig
from motion324.dino import PREFIX, from_transformers, has_names_of_version_5, to_transformers
from motion324.flow_network import AnyMotionNetwork, motion_network
from motion324.owners_checkpoint import convert
from v2m4.safetensors import read_tensors, write_tensors

# What unpickling a file that is no checkpoint raises.
BROKEN = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError)
KIND = "motion324"  # names the files' content in their headers
_NETWORK = PREFIX + "network."  # prefix of DINOv2's parameters in our network


def save_network(
    path: Path, network: AnyMotionNetwork, notes: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write a network's configuration and parameters; the file appears whole.

    Args:
        path: ends in ``.safetensors``.
        network: on any device.
        notes: what it was trained on, or other text for the header.
        half: store the parameters in half precision.
    """
    header = {**(notes or {}), "kind": KIND, "config": json.dumps(network.config.as_dict())}
    write_tensors(path, stored_state(network), header, half=half)


def load_network(path: Path, *, gradient_checkpointing: bool = False) -> AnyMotionNetwork:
    """A network from a checkpoint of ours, or from the released one; on the CPU, in evaluation mode.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint, or its parameters do not fit.
        Unavailable: its image encoder needs the transformers package, which is not installed.
    """
    config, state = convert(_owners_parameters(path)) if _is_zip(path) else _read_own(path)
    network = motion_network(config, gradient_checkpointing=gradient_checkpointing)
    load_state(network, state, str(path))
    return network.eval()


def check_checkpoint(path: Path) -> None:
    """Check that a file is a checkpoint of ours or the released one; no network is made of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint.
    """
    if _is_zip(path):
        _owners_parameters(path)
    else:
        _read_own(path)


def _is_zip(path: Path) -> bool:
    """Whether a file is a checkpoint of ``torch.save``, if it is one."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def read_notes(path: Path) -> dict[str, str]:
    """The text in the header of a checkpoint of ours."""
    return read_tensors(path)[1]


def stored_state(network: AnyMotionNetwork) -> dict[str, Tensor]:
    """The network's parameters under the names that checkpoints have."""
    state = network.state_dict()
    own = {name: value for name, value in state.items() if not name.startswith(_NETWORK)}
    dino = {name[len(_NETWORK) :]: value for name, value in state.items() if name.startswith(_NETWORK)}
    return own | {PREFIX + name: value for name, value in from_transformers(dino).items()}


def load_state(network: AnyMotionNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Load parameters under the names that checkpoints have.

    Args:
        network: whose parameters are overwritten.
        state: see ``stored_state``.
        source: names the checkpoint in errors.

    Raises:
        ValueError: a parameter is missing, unknown, or of another shape.
    """
    wanted = network.state_dict()
    if network.config.image_encoder == "dinov2":
        dino = {name[len(PREFIX) :]: value for name, value in state.items() if name.startswith(PREFIX)}
        renamed = to_transformers(dino, has_names_of_version_5(wanted))
        state = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
        state |= {_NETWORK + name: value for name, value in renamed.items()}
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in wanted]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise ValueError(f"{source}: the checkpoint does not fit the network: {problems[0]}, {len(problems)} in all")
    network.load_state_dict(state)


def _read_own(path: Path) -> tuple[MotionConfig, dict[str, Tensor]]:
    state, notes = read_tensors(path)
    if notes.get("kind") != KIND:
        raise ValueError(f"{path}: not a checkpoint of the motion network")
    try:
        config = MotionConfig.from_dict(json.loads(notes["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the checkpoint's configuration cannot be read ({error})") from error
    return config, state


def _owners_parameters(path: Path) -> dict[str, Tensor]:
    """The parameters in the released checkpoint; nothing but tensors and plain containers is unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint of tensors ({reason})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path}: not a checkpoint of Motion 3-to-4: it holds no 'model'")
    return content["model"]
