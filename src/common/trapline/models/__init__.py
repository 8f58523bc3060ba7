"""Architectures, their weights, and the model artefact."""
