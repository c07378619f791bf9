"""What can go wrong, as seen by a caller.

    VisilError
    ├── MediaError      a file is not a video we can read
    ├── ModelError      a bundle or weight file is unusable
    ├── LibraryError    a library is missing, damaged, locked or does not fit
    └── DataError       values that do not fit together (shapes, annotations, queries)

Every message is one line: what happened, to which file, what to do.
"""


class VisilError(Exception):
    """Base of every error that visil raises on purpose; the command line prints it as one line."""


class MediaError(VisilError):
    """A file could not be decoded into frames."""


class ModelError(VisilError):
    """A bundle, a weight file or a backbone cannot be used."""


class LibraryError(VisilError):
    """A library cannot be opened, read or written."""


class DataError(VisilError):
    """Values do not fit together: shapes, annotations, queries."""
