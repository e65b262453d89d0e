"""The error a task or flow raises for something the user can put right."""


class StudyError(ValueError):
    """One sentence naming the file, the field and the remedy; the command line prints it and exits 2."""

    user_error = True
