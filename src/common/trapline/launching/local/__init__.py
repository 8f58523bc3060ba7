"""Jobs and pipelines on this machine: as processes, or in containers."""
