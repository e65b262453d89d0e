"""The kinds of SAE that a study trains, as the column ``kind`` names them."""

TRAINED, UNTRAINED, FROZEN, SHARED = "trained", "untrained", "frozen", "shared"
