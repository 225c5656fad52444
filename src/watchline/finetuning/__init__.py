"""Fine-tuning of a trained network: the loop over slices and processes, the page of the stage."""
