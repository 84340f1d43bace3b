"""Floor 5: the optimiser, the training step on shards, evaluation and its records, checkpoints, the trainer."""
