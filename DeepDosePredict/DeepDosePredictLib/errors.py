"""Errors meant for the user: each names the file or value, what is wrong and what to do."""


class DeepDoseError(Exception):
    """Base of all errors whose text can be shown to the user as it is."""


class CaseError(DeepDoseError):
    """A patient's data is missing, malformed or outside what the system accepts."""


class ModelError(DeepDoseError):
    """A model file is missing, damaged, incompatible or unfit for the case."""


def printable(text: str) -> str:
    """A text from a file on one line, without what a terminal obeys or no encoding holds: each becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
