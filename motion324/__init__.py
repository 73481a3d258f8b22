"""Motion 3-to-4: a feed-forward network that moves a mesh as a video shows (arXiv 2601.14253)."""

from motion324.checkpoint import check_checkpoint
from motion324.stage import predictor, run

__all__ = ["check_checkpoint", "predictor", "run"]
