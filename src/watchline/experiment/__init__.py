"""Simulated online A/B tests: assignment, environments that answer, policies that rank, statistics that judge."""
