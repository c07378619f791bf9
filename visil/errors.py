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


REASON_CLASSES = (
    "empty_file",  # zero bytes
    "not_media",  # no container format is recognised
    "truncated",  # cut before the headers that are needed to read it
    "no_video_stream",  # sound, subtitles or a cover picture only
    "no_frames",  # headers, but no picture, or none that the sampler takes
    "undecodable",  # unknown codec, encrypted, or damaged beyond reading
    "unsupported_format",  # a format that the decoder does not know
    "not_a_video",  # a still picture
    "too_large",  # beyond the limits on picture size, length or memory
    "unreadable",  # the system refuses: missing, no permission, no regular file, changed while it was read
    "stalled",  # no progress within the time limit
    "crashed",  # the decoder died on it
)
CUT_SHORT_CLASSES = ("stalled", "crashed", "too_large")  # they end a file; what was read before is sound


class MediaError(VisilError):
    """A file could not be decoded into frames.

    Attributes:
        reason_class: one of REASON_CLASSES, for programs; the message is for people.
    """

    def __init__(self, message: str, reason_class: str = "undecodable") -> None:
        super().__init__(message)
        if reason_class not in REASON_CLASSES:
            raise ValueError(f"reason_class must be one of {', '.join(REASON_CLASSES)}, got {reason_class!r}")
        self.reason_class = reason_class


class ModelError(VisilError):
    """A bundle, a weight file or a backbone cannot be used."""


class LibraryError(VisilError):
    """A library cannot be opened, read or written."""


class DataError(VisilError):
    """Values do not fit together: shapes, annotations, queries."""
