"""What ends every candidate alike, so that a study stops at it instead of training on.

Known by the error, wherever a library has wrapped it; errors of torch and tenacity are recognised
by what they hold and say, as neither is imported.
"""

import errno
import os
import re
from collections.abc import Iterator
from typing import Any

from ablate.files import FULL, PASSING

AWAY = PASSING | {errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EMFILE, errno.ENFILE}
"""What the system says where a file system is gone, or there is nothing left to open files with."""
NO_GPU = re.compile(
    r"NVIDIA driver|No CUDA GPUs are available|no kernel image|CUDA driver version|CUDA-capable"
)
"""What torch says of a machine on whose GPUs it cannot compute at all."""
PACKAGES = (
    "`ablate doctor` looks through the packages, and `pip install -c constraints.txt PACKAGE` puts "
    "one right"
)


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came of, outermost first; into the last attempt of a retry, too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = _last_attempt(error) or error.__cause__ or error.__context__


def unwrap_retry(error: BaseException) -> BaseException:
    """The error whose words to show: of a retry its last attempt's, of which it says nothing."""
    inner = _last_attempt(error)
    return unwrap_retry(inner) if inner else error


def _last_attempt(error: BaseException) -> BaseException | None:
    """What the last attempt of a tenacity.RetryError raised."""
    tried: Any = getattr(error, "last_attempt", None)
    inner = tried.exception() if hasattr(tried, "exception") else None
    return inner if isinstance(inner, BaseException) else None


def disk_is_full(error: BaseException) -> bool:
    """Also where a library has wrapped the error of the system, as safetensors does."""
    full = os.strerror(errno.ENOSPC)
    return any(
        (isinstance(cause, OSError) and cause.errno in FULL) or full in str(cause)
        for cause in causes_of(error)
    )


def remedy_for_all(error: BaseException) -> str:
    """What to do about an error that any other candidate would run into as well; "" if it is the
    step's own."""
    for cause in causes_of(error):
        if isinstance(cause, ImportError):
            return PACKAGES
        if isinstance(cause, OSError) and cause.errno in AWAY:
            return "see that the file system is there and answers"
        if NO_GPU.search(str(cause)):
            return "see that `nvidia-smi` finds the GPUs here and torch is built for their driver"
    return ""
