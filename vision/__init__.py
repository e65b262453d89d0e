"""Floor 1: an image in, labelled regions out."""
