"""Editing methods: the contract they keep, the built-in ones, and the loop that the finetuning ones share."""
