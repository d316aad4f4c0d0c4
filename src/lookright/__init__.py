"""LookRight: sequence labeling with decoders, layer by layer."""

__version__ = "0.1.0"
