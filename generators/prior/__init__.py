"""Prior: a closed, textured mesh from one frame by a small network that corrects the result of ``Inflate``.

The network (``network``) predicts depth maps of the near and the far side and the far side's colours from a crop of
the frame; ``fit`` makes a mesh of them. ``train`` trains it on renders (``dataset``, ``views``) of glTF characters and
random creatures (``subjects``, ``v2m4.creatures``); ``evaluate`` compares it with ``Inflate`` on families that it was
not trained on.
"""

from generators.base import Generator, register
from v2m4.config import Config


@register("Prior")
def create(config: Config) -> Generator:
    """The generator; imported here, so that training and evaluation do not load it."""
    from generators.prior.generator import Prior

    return Prior(config)
