"""The error this room raises for something the user can put right."""

from storage.errors import AtlasError


class DiffusionError(AtlasError):
    """One sentence naming the file or field and the remedy."""


class NotFiniteError(DiffusionError):
    """A value that is not finite, in row ``row`` of a batch: the caller knows which prompt that is."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row
