"""The kinds of steps there are: what each is called, who does it, how it is counted and shown.

A recipe is made of stages, which are steps of a kind that trains; the other kinds are none of its.
Another package brings a kind with an entry point in the group `ablate.step_kinds` that names a
`StepKind`. Nothing here imports torch; a module with a kind should not, either: its executor does,
once a step is done.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from types import SimpleNamespace

from ablate.errors import UserError
from fusion_zoo import Registry


@dataclass(frozen=True)
class StepKind:
    """One kind of step.

    `name`: its word in studies, in the store and in `infra.kinds`; `title`: in a report's
    sentences; `executor`: who does it, as `module:function`, which is given a `StepContext` and
    returns the step's figures; `schema`: raised by one when that would make another result of the
    same spec; `colour`: its part of a bar in figures.

    `trains`: whether a recipe may have it as a stage. Of such a kind, `per_expert`: each encoder
    passes it alone, in a model of its own, which all candidates with that encoder share;
    `keeps_all`: its artifact holds every part of the model, and not only those that are no longer
    as shipped; `text`: tokens of text that a sample is counted with, beside its image's.
    """

    name: str
    title: str
    executor: str
    schema: int = 1
    colour: str = "#56b4e9"
    trains: bool = True
    per_expert: bool = False
    keeps_all: bool = False
    text: int = 250


TRAIN = "ablate.train.stage:train"
OURS = (
    StepKind(
        "preflight",
        "preflight",
        "ablate.preflight.checks:check",
        colour="#000000",
        trains=False,
    ),
    StepKind("prealign", "pre-alignment", TRAIN, colour="#9db9b8", per_expert=True),
    StepKind("pretrain", "pre-training", TRAIN, colour="#66716f", text=40),
    StepKind("finetune", "fine-tuning", TRAIN, colour="#0072b2", keeps_all=True),
    StepKind("route", "routing", TRAIN, colour="#e69f00", keeps_all=True),
    StepKind(
        "evaluate",
        "evaluation",
        "ablate.evaluate.score:evaluate",
        schema=2,
        colour="#1d2527",
        trains=False,
    ),
    StepKind("mask", "masking", "ablate.evaluate.masked:mask", colour="#009e73", trains=False),
    StepKind(
        "explain",
        "explanation",
        "ablate.evaluate.explanations:explain",
        colour="#e69f00",
        trains=False,
    ),
    StepKind("features", "features", "ablate.proxies._see:see", colour="#cc79a7", trains=False),
    StepKind(
        "annotate",
        "annotation",
        "ablate.evaluate.annotate:annotate",
        colour="#d55e00",
        trains=False,
    ),
    StepKind(
        "reference",
        "reference evaluation",
        "ablate.evaluate.reference:evaluate_reference",
        colour="#999999",
        trains=False,
    ),
    StepKind("bake", "baking", "ablate.bake.run:bake", colour="#000000", trains=False),
)
"""Ours, in the order of a candidate's chain. The tokens of text are our guess: a caption in the
pairs, a few questions and answers in a conversation. The fit of `ablate.cost` takes up its error.
"""
PREFLIGHT, EVALUATE, FEATURES = "preflight", "evaluate", "features"
"""What comes before a study's first step, what ends every candidate's chain, what proxies see."""
USUAL = ("prealign", "pretrain", "finetune", EVALUATE)
"""The chain of a candidate whose study names no other stage."""
MASK, EXPLAIN, ANNOTATE, REFERENCE = "mask", "explain", "annotate", "reference"
"""What tells which experts a trained mixture needs, and where they look; what turns images into
text for prompts or maps, and what scores a model that is none of a study's candidates."""
DRIVER = "driver"
"""What `infra.kinds` knows besides the kinds of steps: the driver, where it is a job."""
_OURS = SimpleNamespace(**{kind.name: kind for kind in OURS})


def _ours() -> dict[str, EntryPoint]:
    return {name: EntryPoint(name, f"{__name__}:_OURS.{name}", "") for name in vars(_OURS)}


KINDS = Registry("kind of step", "ablate.step_kinds", _ours, error=UserError)
names = KINDS.names
plug_in = KINDS.plug_in


@cache
def find(name: str) -> StepKind:
    """The kind of this name. UserError for an unknown one, naming the nearest."""
    kind = KINDS.load(name)
    with KINDS.blame(name, "be loaded"):
        if not isinstance(kind, StepKind) or kind.name != name or not name.isidentifier():
            raise TypeError(
                f"{kind!r} is no StepKind of that name, which is of letters, digits and _"
            )
    return kind
