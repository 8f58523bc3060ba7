"""What a launch or a pipeline can cost at most, as an estimate."""
