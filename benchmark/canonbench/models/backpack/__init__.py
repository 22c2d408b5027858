"""models.backpack."""
