"""Answers of a model for anybody's images, without preparation, a server or a pipeline."""
