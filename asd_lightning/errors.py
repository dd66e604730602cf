"""The one exception for what a user can put right."""


class UserError(Exception):
    """Bad input: the message names what is wrong, where, and what to do; the command line prints it alone."""
