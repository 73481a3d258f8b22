from pathlib import Path

import numpy as np
import pytest
import torch

from generators.prior.dataset import render_shard, to_batch, to_tensors
from generators.prior.losses import read_output
from generators.prior.network import INPUTS, MIRRORED, OUTPUTS, Output, Prior, decode, encode, interpret, load_network
from generators.prior.report import validate
from generators.prior.subjects import SubjectPool
from generators.prior.tilt import BINS
from generators.prior.train import Options
from generators.prior.trainer import Trainer, rate_factor, restore
from generators.prior.weights import read_weights, write_weights


@pytest.fixture(scope="module")
def shard() -> dict[str, np.ndarray]:
    return render_shard(SubjectPool([], 1.0), 7, 8)


def test_fresh_network_gives_zero() -> None:
    torch.manual_seed(0)
    output = Prior()(torch.randn(2, INPUTS, 64, 64))
    assert output.maps.shape == (2, OUTPUTS, 64, 64)
    assert output.tilt.shape == (2, 2, BINS)
    assert not output.maps.any()
    assert not output.tilt.any()


def test_weights_are_small_enough_and_survive_the_file(tmp_path: Path) -> None:
    network = Prior()
    path = tmp_path / "weights.safetensors"
    write_weights(path, network.state_dict(), {"step": "3"})
    assert path.stat().st_size < 12_000_000
    loaded = load_network(path).state_dict()
    for name, value in network.state_dict().items():
        assert torch.allclose(loaded[name], value, atol=1e-3, rtol=1e-3), name
        assert torch.equal(loaded[name], value.half().float()), name


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"1234")
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_weights(path)
    path.write_bytes((2).to_bytes(8, "little") + b"{x")
    with pytest.raises(ValueError, match="broken"):
        read_weights(path)
    write_weights(path, {"other": torch.ones(2)})
    with pytest.raises(ValueError, match="another network"):
        load_network(path)


def test_prediction_of_a_mirrored_picture_is_mirrored(shard: dict[str, np.ndarray]) -> None:
    torch.manual_seed(1)
    network = Prior()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    torch.nn.init.normal_(network.tilt[-1].weight, std=0.1)
    tensors = to_tensors(shard)
    mirrored = {name: values.flip(2) if values.ndim > 2 else values for name, values in tensors.items()}
    mirrored["window"] = tensors["window"] * torch.tensor([1.0, -1.0, 1.0])
    torch.nn.init.normal_(network.tilted.weight, std=0.1)
    found = []
    for batch in (to_batch(tensors), to_batch(mirrored)):
        features = encode(network, batch.inputs)
        found.append(read_output(Output(decode(network, features, features.tilt), features.tilt, features.body), batch))
    one, other = found
    assert one.centre.std() > 0.01
    assert torch.allclose(one.centre.flip(-1), other.centre, atol=1e-5)
    assert torch.allclose(one.thickness.flip(-1), other.thickness, atol=1e-4)


def test_steps_reduce_the_loss(shard: dict[str, np.ndarray]) -> None:
    trainer = Trainer.create(5e-3, torch.device("cpu"), 0)
    batch = to_batch(to_tensors(shard))
    losses = [trainer.train_step(batch, 1.0) for _ in range(12)]
    assert losses[-1] < 0.97 * losses[0]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(shard: dict[str, np.ndarray], tmp_path: Path) -> None:
    batch = to_batch(to_tensors(shard))
    whole = Trainer.create(5e-3, torch.device("cpu"), 0)
    for _ in range(4):
        whole.train_step(batch, 1.0)
    first = Trainer.create(5e-3, torch.device("cpu"), 0)
    for _ in range(2):
        first.train_step(batch, 1.0)
    torch.save(first.state(), tmp_path / "state.pt")
    second = Trainer.create(5e-3, torch.device("cpu"), 5)
    restore(second, tmp_path, None)
    for _ in range(2):
        second.train_step(batch, 1.0)
    assert second.step == whole.step == 4
    assert second.views == 32
    for name, value in whole.average.state.items():
        assert torch.equal(value, second.average.state[name]), name


def test_weights_alone_are_enough_to_go_on(tmp_path: Path) -> None:
    source = Trainer.create(5e-3, torch.device("cpu"), 0)
    write_weights(tmp_path / "best.safetensors", source.average.state)
    other = Trainer.create(5e-3, torch.device("cpu"), 1)
    restore(other, tmp_path, None)
    for name, value in source.average.state.items():
        assert torch.equal(other.average.state[name], value.half().float()), name


def test_validation_of_a_fresh_network_is_that_of_inflate(shard: dict[str, np.ndarray]) -> None:
    base = validate(None, [shard], torch.device("cpu"))
    assert validate(Prior(), [shard], torch.device("cpu")) == pytest.approx(base, abs=1e-6)
    assert base["front"] > 0


def test_far_uncertain_outputs_stay_in_range() -> None:
    raw = torch.full((1, OUTPUTS, 4, 4), 50.0)
    ones = torch.ones(1, 1, 4, 4)
    found = interpret(raw, torch.zeros(1, 2), torch.ones(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), ones)
    assert float(found.thickness.max()) < 13
    assert float(found.log_scale.max()) <= 2


def test_learning_rate_warms_up_and_falls() -> None:
    assert rate_factor(0) < 0.02
    assert rate_factor(0.02) == pytest.approx(1)
    assert rate_factor(1) == pytest.approx(0.02)
    assert Options().threads == 1


def test_a_body_and_its_mirror_image_have_one_logit() -> None:
    torch.manual_seed(3)
    network = Prior()
    torch.nn.init.normal_(network.body[-1].weight, std=0.3)
    inputs = torch.rand(2, INPUTS, 64, 64)
    mirror = inputs.flip(-1).clone()
    mirror[:, list(MIRRORED)] *= -1
    first, second = encode(network, inputs).body, encode(network, mirror).body
    assert first.shape == (2,) and float(first.abs().max()) > 0
    assert torch.allclose(first, second, atol=1e-5)
