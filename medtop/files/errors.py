"""The one error that users cause and users can repair."""


class DataError(ValueError):
    """Input or flags that medtop cannot use.

    The message is one line: where (file, line or patient, column), what was expected, what was received.
    It never holds a patient's rows. Scripts print it on standard error and exit with code 1.
    """


class Stopped(RuntimeError):
    """Training was asked to stop (SIGTERM) and has saved its state; scripts exit with code 75."""
