"""Floor 4: ELECTRA itself — configuration, the two towers, corruption, the joint objective, initialisation."""
