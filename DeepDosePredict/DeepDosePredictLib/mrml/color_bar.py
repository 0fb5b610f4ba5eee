"""Colour bars in the slice views: which colour stands for how much."""

from __future__ import annotations

import slicer

LEFT, RIGHT = (0.05, 0.5), (0.95, 0.5)
"""Places in a view; lines have theirs on the other side than washes."""


def addColorBar(node, title: str, discrete: bool = False) -> None:
    """Give a volume or model a colour bar that is seen where the node is; nothing without Slicer's Colors module.

    Args:
        discrete: the names of the colours stand beside the bar, which lies on the left.
    """
    bar = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    if bar is None:
        return
    bar.SetTitleText(title)
    bar.SetLabelFormat("%s" if discrete else "%.0f")
    bar.SetUseColorNamesForLabels(discrete)
    bar.SetPosition(*(LEFT if discrete else RIGHT))
    bar.SetSize(0.12, 0.5)
