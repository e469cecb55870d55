"""What an annotator is: it looks at pixels, never at what is known of an image."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ablate.cost.encoders import Cost

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.uint8]"
"""An image (3,H,W), of the size that its file has."""


class Annotator(ABC):
    """Says of each image in text what it sees; nothing (`""`) where it sees nothing.

    `drawn`: whether it understands pages of the drawn world alone.
    """

    drawn: ClassVar[bool] = False

    def weights(self) -> Mapping[str, Any]:
        """What decides what it says beside its code and options, as JSON: a part of the key."""
        return {}

    def cost(self) -> Cost | None:
        """Its parameters, and the FLOPs of an image, by default none; None if it is not known."""
        return Cost(0, 0)

    @abstractmethod
    def load(self, device: str) -> None:
        """Make it ready on a device. UserError where its weights are not here."""

    @abstractmethod
    def annotate(self, images: Sequence[Pixels]) -> Sequence[str]:
        """A text for each image, the same whatever images come with it."""
