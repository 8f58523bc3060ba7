"""Launchers: one short script per experiment, run on your machine."""
