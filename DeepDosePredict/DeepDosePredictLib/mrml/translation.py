"""Slicer's translation of the words that a user sees in passing: progress, titles, axes; slicer-core has none.

What is found out about a patient's data (warnings, errors, the account of contours) stays English everywhere: it is
recorded with the result and must read the same in the scene, in files, on the command line and at another site.
"""

from __future__ import annotations

try:
    from slicer.i18n import tr
except ImportError:

    def tr(text: str) -> str:
        return text
