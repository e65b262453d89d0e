"""The error a task or flow raises for something the user can put right."""

from storage.errors import AtlasError


class StudyError(AtlasError):
    """One sentence naming the file, the field and the remedy; the command line prints it and exits 2."""
