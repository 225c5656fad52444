"""Supervised fine-tuning of causal language models on instructions: the code of recipes/llm_sft."""
