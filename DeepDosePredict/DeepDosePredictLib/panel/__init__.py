"""The panel of the Slicer module: what its widgets show and do. The work itself is done by mrml."""
