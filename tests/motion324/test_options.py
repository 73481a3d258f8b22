from pathlib import Path

import pytest
import yaml

from motion324.config import preset
from motion324.options import read_run_config


def test_the_published_values_are_the_defaults() -> None:
    config = read_run_config("base", [])
    assert config.model == preset("base")
    training = config.training
    assert (training.lr, training.warmup, training.grad_clip_norm, training.weight_decay) == (4e-4, 1000, 1.0, 0.05)
    assert (training.beta1, training.beta2, training.loss, training.optimizer) == (0.9, 0.95, "mse", "adamw")
    assert (config.data.frames, config.data.used_frames, config.data.query_points) == (12, 12, 4096)
    assert not config.data.sample.camera_axes


def test_overrides_are_values_of_yaml() -> None:
    config = read_run_config(
        "tiny", ["training.batch_size_per_gpu=32", "training.lr=1e-3", "data.sample.yaw=90", "data.folder=/x y",
                 "model.latents=8", "training.tensorboard=false"],
    )  # fmt: skip
    assert config.training.batch_size_per_gpu == 32
    assert config.training.lr == 1e-3
    assert config.data.sample.yaw == 90.0
    assert config.data.folder == "/x y"
    assert config.model.latents == 8
    assert not config.training.tensorboard


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch=3", "no field 'batch'"),
        ("training.lr", "expected section.field=value"),
        ("training.warmup=soon", "warmup: expected int"),
        ("model.preset=huge", "no preset 'huge'"),
        ("data=3", "expected fields by name"),
    ],
)
def test_what_an_override_cannot_be_is_said(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_run_config("tiny", [override])


def test_files_are_read_and_written_configurations_come_back(tmp_path: Path) -> None:
    config = read_run_config("tiny", ["training.seed=5"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.as_dict()))
    assert read_run_config(str(tmp_path / "run.yaml"), []) == config


def test_an_unknown_configuration_names_those_that_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="one of base, tiny"):
        read_run_config("small", [])
