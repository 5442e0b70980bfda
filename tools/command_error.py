"""The error of a command."""


class CommandError(Exception):
    """What the user can put right: the message is printed by itself, and the command ends with exit code 2."""
