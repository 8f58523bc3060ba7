"""What decides: the metrics of a part with their intervals, and which model is the champion."""
