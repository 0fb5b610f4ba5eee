"""The network that a configuration describes."""

from __future__ import annotations

from .cell_network import CellNet
from .contract import CellNetConfig, NetworkConfig
from .network import DeepDoseNet

DoseNetwork = DeepDoseNet | CellNet


def make_network(config: NetworkConfig | CellNetConfig) -> DoseNetwork:
    """With random weights."""
    return CellNet(config) if isinstance(config, CellNetConfig) else DeepDoseNet(config)
