"""Simulated online A/B tests: environments, estimators and their statistics."""
