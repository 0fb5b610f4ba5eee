"""The dose model: input channels, network, model files with their contracts, and the predictor."""
