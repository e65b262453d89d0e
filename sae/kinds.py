"""What may move of an SAE while it trains, by the name that the column ``kind`` has for it. Imports nothing heavy."""

TRAINED, FROZEN, SOFT_FROZEN, FROZEN_ENCODER = "trained", "frozen", "soft_frozen", "frozen_encoder"
