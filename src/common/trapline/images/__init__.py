"""From bytes to pixels: what an image costs is read from its header, then it is decoded, strictly."""
