"""The error this room raises for something the user can put right."""

from storage.errors import AtlasError


class VisionError(AtlasError):
    """One sentence naming the file or field and the remedy."""
