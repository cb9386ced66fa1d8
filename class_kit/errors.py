"""The one error that a user's own input can cause, so that the command line can tell it from a defect of the kit."""

from __future__ import annotations


class InputError(ValueError):
    """A file, column, option or value from outside cannot be used; the message names it and what was expected."""
