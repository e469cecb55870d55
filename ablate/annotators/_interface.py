"""What an annotator is: it looks at pixels, never at what is known of an image.

Shapes: H W pixels of an image, K channels of a map, h w its grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ablate.cost.encoders import Cost

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.uint8]"
"""An image (3,H,W), of the size that its file has."""
Map: TypeAlias = "npt.NDArray[np.uint8]"
"""What is where in an image, (K,h,w), 255 standing for 1: on any grid, all of the image."""


class Observer(ABC):
    """What both sorts of annotators have.

    `drawn`: whether it understands pages of the drawn world alone; `channels`: those of the maps
    that it draws, none if it says texts.
    """

    drawn: ClassVar[bool] = False
    channels: int = 0

    def weights(self) -> Mapping[str, Any]:
        """What decides what it tells beside its code and options, as JSON: a part of the key."""
        return {}

    def cost(self) -> Cost | None:
        """Its parameters, and the FLOPs of an image, by default none; None if it is not known."""
        return Cost(0, 0)

    @abstractmethod
    def load(self, device: str) -> None:
        """Make it ready on a device. UserError where its weights are not here."""


class Annotator(Observer):
    """Says of each image in text what it sees; nothing (`""`) where it sees nothing."""

    @abstractmethod
    def annotate(self, images: Sequence[Pixels]) -> Sequence[str]:
        """A text for each image, the same whatever images come with it."""


class MapAnnotator(Observer):
    """Draws of each image a map of what it sees, of its `channels`, which an encoder `map:NAME`
    looks at."""

    @abstractmethod
    def draw(self, images: Sequence[Pixels]) -> Sequence[Map]:
        """A map for each image, the same whatever images come with it."""
