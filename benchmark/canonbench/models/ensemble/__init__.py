"""models.ensemble."""
