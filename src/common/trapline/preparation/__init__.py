"""From raw images, in whatever form people have them, to the prepared data set."""
