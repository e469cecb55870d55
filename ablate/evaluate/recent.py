"""What was made last, kept within a limit of memory."""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Stored(Protocol):
    """What says how many bytes it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


T = TypeVar("T", bound=Stored)


class Recent(Generic[T]):
    """What was used last, by key: together at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes held."""
        self._held: OrderedDict[bytes, T] = OrderedDict()  # the longest unused first

    def __contains__(self, key: bytes) -> bool:
        return key in self._held

    def __getitem__(self, key: bytes) -> T:
        self._held.move_to_end(key)
        return self._held[key]

    def __setitem__(self, key: bytes, new: T) -> None:
        if key in self._held:
            self.size -= self._held.pop(key).nbytes
        self._held[key] = new
        self.size += new.nbytes
        while self.size > self.limit:
            _, dropped = self._held.popitem(last=False)
            self.size -= dropped.nbytes
