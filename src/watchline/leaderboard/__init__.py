"""Methods x seeds of one protocol side by side: a table, what its differences are worth, and what accuracy costs.

It reads a folder of finished runs and knows nothing of how they were made (`pipelines/leaderboard.py` makes them).
"""
