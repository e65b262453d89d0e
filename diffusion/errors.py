"""The error this room raises for something the user can put right."""


class DiffusionError(ValueError):
    """One sentence naming the file or field and the remedy."""

    user_error = True


class NotFiniteError(DiffusionError):
    """A value that is not finite, in row ``row`` of a batch: the caller knows which prompt that is."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row
