"""The error this room raises for something the user can put right."""

from storage.errors import AtlasError


class SAEError(AtlasError):
    """One sentence naming the file or field and the remedy."""
