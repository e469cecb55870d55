"""Names say what they hold: the field's noun, and none of the words that fit anything."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("ablate", "fusion_zoo", "tools")
VAGUE = {"found", "one", "said", "place", "own", "told"}
KEPT = {
    "ablate/catalog/suites.py": {"own"},  # a user's own benchmarks, also in a step's spec
    "ablate/commands/drivers_and_jobs.py": {"said"},  # of `ablate status --json`
    "ablate/commands/schemas.py": {"found"},  # of `ablate doctor --json`
    "ablate/launch/finding.py": {"found"},  # the same
    "ablate/launch/protocol.py": {"said"},  # what a launcher of another package writes, too
    "ablate/launch/ray/cluster.py": {"said"},
    "ablate/launch/slurm/squeue.py": {"said"},
    "ablate/evaluate/own_task/metrics.py": {"said"},  # its content is in keys of finished steps
    "ablate/evaluate/tasks/utils.py": {"said"},  # the same
    "fusion_zoo/connectors/mousi.py": {"own"},  # weights are called so
}
"""Where one of them is no name of ours alone: who reads it from outside."""


def names(tree: ast.AST) -> Iterator[str]:
    """What a file gives a name to: variables, parameters, attributes, functions, classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def test_no_name_is_a_word_that_fits_anything() -> None:
    vague = {}
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if words := {name for name in names(tree) if name.strip("_") in VAGUE}:
            vague[path.relative_to(ROOT).as_posix()] = words
    assert vague == KEPT
