"""From raw images to the prepared data set, and from there to batches."""
