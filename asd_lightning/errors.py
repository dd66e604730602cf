"""The one exception for what a user can put right."""

from asd_lightning.plain_text import without_credentials


class UserError(Exception):
    """Bad input: the message names what is wrong, where, and what to do; the command line prints it alone.

    Addresses in it lose their user, password and query.
    """

    def __str__(self) -> str:
        return without_credentials(super().__str__())
