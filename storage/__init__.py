"""Floor 0: all that touches disk."""
