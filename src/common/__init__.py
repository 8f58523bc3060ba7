"""The library that the entry points call; shipped beside them into the container."""
