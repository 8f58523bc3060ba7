"""The prepared data set: its files, and from there to batches."""
