"""One key frame after another: a pose registered to a mesh of another topology, for each value of ``trust``."""

import itertools
from dataclasses import replace

import pytest
import torch

from registration.keyframes import pairwise
from registration.keyframes.nonrigid_icp import IcpFit
from registration.keyframes.pairwise import register_pair, takes_shape
from registration.keyframes.template import Template
from tests.registration.keyframes.interrupted import killed_every
from tests.registration.shapes import bent, painted, photographed
from v2m4.config import FAST
from v2m4.geometry import nearest, sample_surface
from v2m4.mesh import Mesh
from v2m4.optical_flow import flow_between
from v2m4.partial_results import PartialResults

AWAY = torch.tensor([0.0, 0.0, 3.0])
CONFIG = replace(
    FAST.registration,
    coarse_steps=10,
    half_turn_steps=4,
    fine_steps=40,
    video_size=96,
    size=48,
    points=500,
    settle_rounds=12,
)


@pytest.fixture(scope="module")
def pair(capsule):
    """A body that bends over three frames: the template, the true poses, frames, flows, and the last frame's mesh."""
    vertices, faces = capsule
    rest = painted(vertices + AWAY, faces)
    poses = [bent(vertices, 0.4 * index) + AWAY for index in range(3)]
    frames = [photographed(rest.with_vertices(pose), index) for index, pose in enumerate(poses)]
    flows = [flow_between(first, second) for first, second in itertools.pairwise(frames)]
    order = torch.randperm(len(vertices), generator=torch.Generator().manual_seed(0))
    target = Mesh(poses[2][order], torch.argsort(order)[faces], colors=rest.colors[order])
    return Template.of(rest, 1.0, CONFIG), poses, frames, flows, target


def registered(pair, seed: int = 0, target: Mesh | None = None, parts: PartialResults | None = None, **options):
    template, poses, frames, flows, own = pair
    generator = torch.Generator().manual_seed(seed)
    config = replace(CONFIG, **options)
    return register_pair(poses[0], template, target or own, frames, flows, 0, 2, config, generator, parts=parts)


@pytest.mark.parametrize("trust", ["fits", "yes", "no"])
def test_the_pose_is_registered_to_the_target_for_each_value_of_trust(pair, trust: str) -> None:
    _, poses, _, _, _ = pair
    result = registered(pair, trust=trust)
    before, after = ((pose - poses[2]).norm(dim=1).mean() for pose in (poses[0], result.vertices))
    assert after < 0.5 * before  # it may spin about its length
    surface, _, _ = sample_surface(poses[2], pair[0].mesh.faces, 20000, torch.Generator().manual_seed(0))
    far, near = (nearest(pose, surface)[0].mean() for pose in (poses[0], result.vertices))
    assert near < 0.25 * far
    assert result.takes_shape == (trust != "no")
    assert set(result.curves) >= ({"residual", "stretch"} if result.takes_shape else {"arap", "chamfer", "silhouette"})
    assert all(len(curve) == (12 if result.takes_shape else 40) for curve in result.curves.values())


def test_a_mesh_of_another_body_is_one_term_unless_trust_is_yes(pair) -> None:
    template, poses, _, _, own = pair
    middle = own.vertices.mean(0)
    fat = own.with_vertices((own.vertices - middle) * torch.tensor([2.2, 1.0, 2.2]) + middle)
    guided, blind = (registered(pair, target=fat, trust=trust) for trust in ("fits", "yes"))
    assert not guided.takes_shape and blind.takes_shape
    widths = [float(pose[:, 0].amax() - pose[:, 0].amin()) for pose in (guided.vertices, blind.vertices, poses[2])]
    assert widths[0] < 0.75 * widths[1]  # as wide as the video's outline, not as the fat mesh
    assert widths[0] < 1.5 * widths[2]
    assert float(template.arap(guided.vertices)) < float(template.arap(blind.vertices))


def test_without_trust_the_nonrigid_icp_does_not_run(pair, monkeypatch) -> None:
    def refused(*_, **__):
        raise AssertionError("nonrigid_icp ran")

    monkeypatch.setattr(pairwise, "nonrigid_icp", refused)
    assert not registered(pair, trust="no", fine_steps=2, coarse_steps=2).takes_shape
    with pytest.raises(AssertionError, match="nonrigid_icp ran"):
        registered(pair, trust="fits")


@pytest.mark.parametrize("trust", ["yes", "no"])
def test_the_generator_decides_the_bytes(pair, trust: str) -> None:
    short = {"trust": trust, "fine_steps": 4, "coarse_steps": 4, "settle_rounds": 4}
    first, again, other = (registered(pair, seed, **short).vertices for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_fit_is_judged_by_its_last_round_alone() -> None:
    config = replace(CONFIG, trusted_residual=0.01, trusted_stretch=0.1)

    def fit(residual, stretch) -> bool:
        return takes_shape(
            IcpFit(torch.zeros(1, 3), torch.tensor(residual).numpy(), torch.tensor(stretch).numpy()), config
        )

    assert fit([0.5, 0.009], [0.5, 0.09])
    assert not fit([0.001, 0.011], [0.0, 0.0])
    assert not fit([0.0, 0.0], [0.0, 0.11])


def test_a_registration_that_is_killed_goes_on_exactly(pair, tmp_path, monkeypatch) -> None:
    options = {"trust": "no", "coarse_steps": 4, "half_turn_steps": 2, "fine_steps": 17}
    whole = registered(pair, **options)
    fitted, fit = [], pairwise.fit_rigid
    monkeypatch.setattr(pairwise, "fit_rigid", lambda *given, **more: (fitted.append(1), fit(*given, **more))[1])
    # The state is stored where samples are drawn anew, every 5 steps: of 7 steps, 2 are done again.
    result, kills = killed_every(7, tmp_path, lambda parts: registered(pair, parts=parts, **options))
    assert (kills, len(fitted)) == (2, 1)
    assert result.vertices.numpy().tobytes() == whole.vertices.numpy().tobytes()
    assert {name: values.tobytes() for name, values in result.curves.items()} == {
        name: values.tobytes() for name, values in whole.curves.items()
    }
