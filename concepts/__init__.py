"""Floor 1: the concept dictionary - overlap statistics, labels, layouts, effects and their intervals."""
