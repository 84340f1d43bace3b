"""ELECTRA itself: a tower's configuration, the two towers, corruption, and where training starts."""
