"""The only place that puts the rooms together: evaluation, its run folder, resume and progress."""
