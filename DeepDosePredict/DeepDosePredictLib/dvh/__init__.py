"""DVHs: the official metrics, DVHs as SlicerRT defines them, and clinical goals."""
