"""Reproducible ablation studies of convolutional networks."""
