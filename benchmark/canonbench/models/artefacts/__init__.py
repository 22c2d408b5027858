"""Artefacts: edited models on disk, written after an edit run and applied to their base again."""
