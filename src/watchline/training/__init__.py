"""Training loop, curriculum, checkpoints, seeding and process groups."""
