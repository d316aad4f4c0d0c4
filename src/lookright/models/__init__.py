"""Base models, heads, adapters, and the folders they are saved in."""
