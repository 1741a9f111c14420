"""The base of the errors that bad input raises."""


class YoloError(Exception):
    """Something a user can mend: the message says where, what was expected, what came.

    The command line prints it in one line and exits with code 1; any other exception is a fault
    of this package and shows its traceback.
    """
