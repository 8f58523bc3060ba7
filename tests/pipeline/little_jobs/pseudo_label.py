"""Pseudo-labels that say the threshold."""

from orders import obey, option

obey(option("--prepared"), "pseudo_label")
assert option("--model").is_file()
(option("--output") / "pseudo_labels.csv").write_text(f"id\n{option('--threshold')}\n")
