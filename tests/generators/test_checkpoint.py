"""A trainer's checkpoint: its tensors come out, its code does not run."""

import collections
import pickle

import pytest
import torch

from generators._checkpoint import Placeholder, tensors_only

RAN = []


def run(*given):
    """What a hostile pickle would call."""
    RAN.append(given)


class TrainerOptions(dict):
    """As a trainer's options, with a state of their own."""

    def __init__(self, **given):
        super().__init__(given)
        self.depth = 3


class Hostile:
    def __reduce__(self):
        return run, ("rm -rf",)


class Loud:
    def __reduce__(self):
        return print, ("hostile",)


@pytest.fixture
def checkpoint(tmp_path):
    state = collections.OrderedDict(
        weight=torch.arange(6.0).reshape(2, 3),
        half=torch.ones(2, dtype=torch.bfloat16),
        column=torch.arange(6.0).reshape(2, 3)[:, 1],
        count=torch.tensor(7),
        parameter=torch.nn.Parameter(torch.full((2,), 5.0)),
    )
    state["shared"] = state["weight"]
    content = {
        "state_dict": state,
        "epoch": 3,
        "betas": (0.9, 0.99),
        "hyper_parameters": TrainerOptions(model=TrainerOptions(width=8)),
        "callbacks": [Hostile(), Loud(), {1, 2}],
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }
    RAN.clear()
    return state, content, tmp_path / "model.ckpt"


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_loaded_and_no_code_runs(checkpoint, zipped, capsys):
    state, content, file = checkpoint
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
    before = torch.load
    with tensors_only():
        found = torch.load(file, map_location=torch.device("cpu"))  # as the owner calls it
    assert torch.load is before
    assert list(found["state_dict"]) == list(state)
    for name, value in state.items():
        assert torch.equal(found["state_dict"][name], value) and found["state_dict"][name].dtype == value.dtype
    assert (found["epoch"], found["betas"]) == (3, (0.9, 0.99))
    assert isinstance(found["hyper_parameters"], Placeholder) and isinstance(found["callbacks"][0], Placeholder)
    assert RAN == [] and "hostile" not in capsys.readouterr().out
    network = torch.nn.Linear(3, 2, bias=False)
    network.load_state_dict({"weight": found["state_dict"]["weight"]})


def test_plain_state_dict_equals_pytorchs_loading(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    torch.save(state, tmp_path / "model.ckpt")
    with tensors_only():
        found = torch.load(tmp_path / "model.ckpt")
    assert list(found) == list(state) and all(torch.equal(found[name], state[name]) for name in state)


def test_torch_load_is_restored_after_an_error():
    before = torch.load
    with pytest.raises(FileNotFoundError), tensors_only():
        torch.load("/nowhere/model.ckpt")
    assert torch.load is before
