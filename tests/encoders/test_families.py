"""A family is one file: found by its class, held to the contract, named by the specs beside it."""

import inspect
import json
from pathlib import Path

import encoder_toys
import pytest
from doc_examples import EXAMPLES
from overlay import overlay, run

from ablate.catalog import encoder_families as families
from ablate.encoders.base import Encoder
from ablate.encoders.build import family_class
from ablate.errors import UserError


def test_every_family_is_a_class_that_says_so() -> None:
    assert len(families.FAMILIES.ours()) >= 12
    for name in families.names():
        found = family_class(name)
        assert issubclass(found, Encoder)
        assert not inspect.isabstract(found)
    for name in families.FAMILIES.ours():
        assert family_class(name).family == name
        assert family_class(name).revision == families.revision(name)


@pytest.mark.parametrize("name", families.names())
def test_every_family_is_held_to_the_contract_by_a_small_encoder(name: str) -> None:
    """Else put one beside its class: a spec in `SPECS`, without weights."""
    assert name in {spec.family for spec in encoder_toys.SPECS}


def test_an_unknown_family_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no encoder family 'clipp'; did you mean 'clip'"):
        families.plug_in("clipp")


@pytest.mark.slow
def test_a_file_alone_adds_a_family(tmp_path: Path, own_home: Path) -> None:
    name = "ablate/encoders/patchy.py"
    site = overlay(tmp_path / "site", {name: EXAMPLES[name]})
    listed = json.loads(run(own_home, site, "list", "encoders", "--json").stdout)
    [mine] = [row for row in listed if row["family"] == "patchy"]
    assert (mine["encoder"], mine["grid"], mine["parameters"]) == ("patchy-s@32", "4x4", 4632)
    assert mine["flops"] == 2 * 16 * 3 * 8 * 8 * 24
    pool = ["--set", "explore.pool=[patchy-s]"]
    plan = json.loads(run(own_home, site, "plan", "micro/smoke", *pool, "--json").stdout)
    assert plan["candidates"][-1]["encoders"] == ["clip-micro@32", "patchy-s@32"]
