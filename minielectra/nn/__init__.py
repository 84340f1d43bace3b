"""Floor 3: parameters in one flat buffer, thin layers over them, the encoder."""
