"""Numbers made of logits and labels: probabilities, temperature, F1 and the other metrics."""
