"""Offline evaluation: what is measured of models on the eval days, and the page that shows it."""
