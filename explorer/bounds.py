"""How much an exported site holds unless told otherwise: said once, for the command line and for Python."""

CONCEPTS, IMAGES = 30, 36  # pages of concepts of each dictionary, and of images, at most
LABELS = 400  # pages of labels at most: as many as the first page lists
MEGABYTES = 200
