"""Ensembles: the change that an edit made to a small model, added to a larger one."""
