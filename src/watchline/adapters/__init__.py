"""Fine-tuning adapters. They work on any nn.Module and know nothing of the line."""
