"""report.html: one offline page with an animation's mesh, its video, curves, settings and warnings."""

from v2m4.page.report import REPORT, write_report

__all__ = ["REPORT", "write_report"]
