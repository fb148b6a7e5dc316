"""The one exception that users see."""


class ProjectError(Exception):
    """A problem its reader can mend.

    The message is one sentence that names the file or key at fault and the way out. The
    command line prints it without a traceback and exits with status 1.
    """
