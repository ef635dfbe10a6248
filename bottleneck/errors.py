"""The one error a user is meant to read."""


class BottleneckError(Exception):
    """Something could not be done, and the message says why.

    The message is one line: what was expected, what was found, and which option or command mends
    it. The command line prints it as it stands and exits with 1.
    """


def one_line(error: BaseException) -> str:
    """Put what an exception says into one line."""
    return " ".join(str(error).split()) or type(error).__name__
