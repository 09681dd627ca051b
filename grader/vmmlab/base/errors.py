"""The project's own exceptions. Each says what was expected, what was found and what to do next.

Nothing here knows where an error comes from. `cli` turns an error into its text and exit code.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from vmmlab.base.message import Text, msg

_REASONS: Final[Mapping[int, Text]] = {
    errno.EACCES: msg("permission denied"),
    errno.EPERM: msg("operation not permitted"),
    errno.ENOENT: msg("no such file or directory"),
    errno.EEXIST: msg("file exists"),
    errno.ENOTDIR: msg("not a directory"),
    errno.EISDIR: msg("is a directory"),
    errno.ENOTEMPTY: msg("directory not empty"),
    errno.ENAMETOOLONG: msg("file name too long"),
    errno.ELOOP: msg("too many levels of symbolic links"),
    errno.EROFS: msg("read-only file system"),
    errno.ENOSPC: msg("no space left on device"),
    errno.EDQUOT: msg("disk quota exceeded"),
    errno.EFBIG: msg("file too large"),
    errno.EIO: msg("input/output error"),
    errno.ENOMEM: msg("cannot allocate memory"),
    errno.EMFILE: msg("too many open files"),
    errno.ENFILE: msg("too many open files in system"),
    errno.ESTALE: msg("stale file handle"),
    errno.EBUSY: msg("device or resource busy"),
    errno.EXDEV: msg("invalid cross-device link"),
    errno.ECONNREFUSED: msg("connection refused"),
    errno.EADDRINUSE: msg("address already in use"),
}
"""What Linux says of common errors: English it has at every place, this can be translated."""


class VmmlabError(Exception):
    """An error that a person can understand and act on.

    Args:
        message: one sentence that says what is wrong.
        expected: what should have been there.
        found: what was there instead.
        next_step: what the reader can do now.

    `str` of an error is English; `vmmlab.i18n` shows it in the reader's language.
    """

    exit_code = 2

    def __init__(
        self, message: Text, *, expected: Text = "", found: Text = "", next_step: Text = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.found = found
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [str(self.message)]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.found:
            lines.append(f"  found:    {self.found}")
        if self.next_step:
            lines.append(f"  next:     {self.next_step}")
        return "\n".join(lines)


class UsageError(VmmlabError):
    """The command was used wrongly (exit 2)."""


class CourseError(VmmlabError):
    """course.yml, or a file it names, is wrong; the message carries file, line and key (exit 2)."""


class SubmissionError(VmmlabError):
    """A submission that cannot be graded as it is (exit 2)."""


class UngradableError(SubmissionError):
    """Files of a submission are missing or no text: a reason for 0 points if any were handed in.

    Args:
        message, expected, found, next_step: as for `VmmlabError`.
        handed_in: something was handed in for the labs that were to be graded.
    """

    def __init__(
        self,
        message: Text,
        *,
        expected: Text = "",
        found: Text = "",
        next_step: Text = "",
        handed_in: bool = True,
    ) -> None:
        super().__init__(message, expected=expected, found=found, next_step=next_step)
        self.handed_in = handed_in


class InfraError(VmmlabError):
    """The grader or its tools failed, not the student (exit 3). Never a reason for 0 points."""

    exit_code = 3


def os_reason(error: OSError) -> Text:
    """Return what the system says about an error, in lower case, to be part of a sentence."""
    if known := _REASONS.get(error.errno or 0):
        return known
    return (error.strerror or str(error)).lower()
