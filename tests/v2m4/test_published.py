"""What the paper preset asks for: networks where they are installed, else a twin that is named."""

from dataclasses import replace

import pytest

import main
from camera_search.learned_parts import LearnedParts
from v2m4 import dreamsim, lpips
from v2m4.config import FAST, PAPER
from v2m4.preflight import camera_search, published
from v2m4.preflight.published import resolve
from v2m4.weights import Needs, Unavailable

CPU = replace(PAPER, device="cpu")


@pytest.fixture
def installed(monkeypatch):
    """Makes exactly these parts ready."""

    def made(*names: str) -> None:
        def check(name):
            def checked(config) -> None:
                if name not in names:
                    raise Unavailable(f"{name} is missing")

            return checked

        parts = {name: Needs(further=check(name)) for name in ("dust3r", "vggt")}
        monkeypatch.setattr(published, "POINT_MAPS", parts)
        monkeypatch.setattr(camera_search, "POINT_MAPS", parts)
        monkeypatch.setattr(dreamsim, "check", check("dreamsim"))
        monkeypatch.setattr(lpips, "check", check("lpips"))

    return made


def test_without_weights_every_twin_is_named_in_one_line(installed):
    installed()
    config, told = resolve(CPU)
    assert (config.search.similarity, config.search.point_map, config.generation.refine) == (
        "agreement",
        "matches",
        "pixels",
    )
    assert told.startswith("preset paper: Prior for a learned generator")
    assert "feature matches and PnP for DUSt3R" in told and "for DreamSim" in told
    assert "\n" not in told and "refinement" not in told


@pytest.mark.parametrize(
    ("there", "expected"),
    [(("dust3r", "vggt"), "dust3r"), (("vggt",), "vggt"), (("dust3r",), "dust3r"), (("dreamsim",), "matches")],
)
def test_a_network_that_is_here_is_taken(installed, there, expected):
    installed(*there)
    config, told = resolve(CPU)
    assert config.search.point_map == expected
    assert config.search.similarity == ("dreamsim" if "dreamsim" in there else "agreement")
    assert ("PnP" in told) == (expected == "matches")


def test_refinement_is_trellis_own(installed):
    installed("dreamsim", "lpips", "dust3r")
    config, told = resolve(replace(CPU, model="TRELLIS"))
    assert (config.generation.refine, config.search.similarity, told) == ("networks", "dreamsim", "")
    installed("dreamsim", "dust3r")
    config, told = resolve(replace(CPU, model="TRELLIS"))
    assert config.generation.refine == "pixels"
    assert "in the refinement" in told


def test_what_is_asked_for_by_name_stays(installed):
    installed()
    assert resolve(FAST) == (FAST, "")
    asked = replace(CPU, use_vggt=True, search=replace(CPU.search, similarity="dreamsim"))
    config, _ = resolve(asked)
    assert (config.search.point_map, config.search.similarity) == ("vggt", "dreamsim")
    with pytest.raises(main.UsageError, match=r"--search\.similarity dreamsim"):
        main.check(asked)


def test_stages_refuse_what_nobody_resolved():
    with pytest.raises(ValueError, match=r"published: resolve it first, with main\.check"):
        LearnedParts.load(CPU)
