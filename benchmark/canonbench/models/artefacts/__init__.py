"""models.artefacts."""
