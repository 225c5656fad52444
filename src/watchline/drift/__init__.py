"""Drift of the eval days against the training days: the comparison (compare.py) and its page (page.py)."""
