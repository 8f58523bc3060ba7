"""Searches for hyperparameters, here and on AWS."""
