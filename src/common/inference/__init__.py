"""Predictions from image bytes: views, temperature, pseudo-labels, serving."""
