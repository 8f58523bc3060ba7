"""Damaged and hostile input by the thousand, against everything that reads what strangers send."""
