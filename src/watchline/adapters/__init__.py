"""Fine-tuning adapters."""
