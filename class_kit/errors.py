"""The error raised for unusable input, so that the command line can tell it from a bug in the kit."""

from __future__ import annotations


class InputError(ValueError):
    """A file, column, option or value cannot be used; the message names it and what was expected."""
