"""Watch time <-> token sequences: vocabularies and the greedy code."""
