"""The one exception that a person sees."""


class LabError(Exception):
    """Something a person can act on: the message says what happened and what to do. Shown without a traceback."""
