"""models.gguf."""
