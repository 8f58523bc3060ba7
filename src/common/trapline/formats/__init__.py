"""Answers of a model written in the formats that other people's tools open."""
