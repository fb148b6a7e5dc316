"""The deterministic, resumable training of a variant.

Everything here, and what it imports, is a dependency of every `train` stage in dvc.yaml: a change
makes all trained results stale.
"""
