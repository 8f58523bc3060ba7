"""From the bytes of images to answers: the predictor, pseudo-labels, the server."""
