"""Names of the devices a model can be asked to run on; apart from PyTorch, which takes long to import."""

DEVICES = ("auto", "cpu", "cuda", "mps")
