"""The error this room raises for something the user can put right."""


class DiffusionError(ValueError):
    """One sentence naming the file or field and the remedy."""

    user_error = True
