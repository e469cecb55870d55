"""A number that makes no sense as an option is one line, never a fault of torch's."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from injection_toys import decoder

import fusion_zoo
from fusion_zoo import FUSIONS, LanguageShape, MapShape, Registry, Segment
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS
from fusion_zoo.tilings import TILINGS

Make = Callable[..., Any]
MAPS, LANGUAGE = [MapShape(12, 4, 4), MapShape(8, 8, 8)], LanguageShape(16, 4)
MAKE: dict[str, tuple[Registry, Make]] = {
    "fusion": (FUSIONS, lambda name, **o: fusion_zoo.build(name, MAPS, (4, 4), LANGUAGE, **o)),
    "connector": (
        CONNECTORS,
        lambda name, **o: CONNECTORS.build(name, [Segment(16, 12)], [(4, 4)], 16, **o),
    ),
    "tiling": (TILINGS, lambda name, **o: TILINGS.build(name, 64, **o)),
    "injection": (INJECTIONS, lambda name, **o: INJECTIONS.build(name, decoder(), **o)),
}


def numbers(registry: Registry) -> Iterator[tuple[str, dict[str, float]]]:
    """Components, each with one of its numbers at the end of its range, or below it."""
    for name in registry.names():
        for option, default in registry.options(name).items():
            if type(default) in (int, float):
                yield from ((name, {option: type(default)(value)}) for value in (-1, 0))


def fault(make: Make, name: str, options: dict[str, float]) -> Exception | None:
    try:
        with torch.device("meta"):
            make(name, **options)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("sort", MAKE)
def test_a_number_out_of_range_is_refused_in_words(sort: str) -> None:
    registry, make = MAKE[sort]
    faults = {
        f"{name} with {options}": fault(make, name, options) for name, options in numbers(registry)
    }
    assert {what: error for what, error in faults.items() if type(error) is ValueError}
    assert not {
        what: error for what, error in faults.items() if error and type(error) is not ValueError
    }
