"""What a run comes to: the verdict, the index page over all stages, and a card for each model."""
