"""Floor 5: fine-tuning — heads, readers, metrics, training."""
