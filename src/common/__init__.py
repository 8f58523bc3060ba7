"""The library that the entry points call; shipped beside them into the container."""

__version__ = "0.1.0"
