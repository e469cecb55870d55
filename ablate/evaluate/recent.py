"""What was made last, kept within a limit of memory."""

from collections import OrderedDict

from torch import Tensor


class RecentTensors:
    """The tensors that were used last, by key: together at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes held."""
        self._held: OrderedDict[bytes, Tensor] = OrderedDict()  # the longest unused first

    def __contains__(self, key: bytes) -> bool:
        return key in self._held

    def __getitem__(self, key: bytes) -> Tensor:
        self._held.move_to_end(key)
        return self._held[key]

    def __setitem__(self, key: bytes, tensor: Tensor) -> None:
        if key in self._held:
            self.size -= self._held.pop(key).nbytes
        self._held[key] = tensor
        self.size += tensor.nbytes
        while self.size > self.limit:
            _, dropped = self._held.popitem(last=False)
            self.size -= dropped.nbytes
