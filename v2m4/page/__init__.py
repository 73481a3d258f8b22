"""report.html: one offline page with an animation's mesh, its video, curves, settings and warnings."""

from v2m4.page.report import write_report

__all__ = ["write_report"]
