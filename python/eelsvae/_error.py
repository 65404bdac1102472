class Error(ValueError):
    """A mistake in what was given, or of this machine: one line that says what would be right."""


Error.__module__ = "eelsvae"
