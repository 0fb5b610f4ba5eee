"""The only part that touches MRML: nodes to Case, dose to nodes, tables, plots. For Slicer and for slicer-core."""
