"""What a study tries, round by round: a pure function of what the store holds.

Killed at any moment and asked again, it proposes the same candidates and decides the same.
"""

from collections.abc import Iterable, Mapping

from ablate.config.study import Study
from ablate.design import Candidate, Design
from ablate.errors import UserError
from ablate.search.decision import decide
from ablate.store.results import Evaluation, Failure, Lookup
from ablate.strategies import Decision, Round, blamed, propose


def rounds_so_far(study: Study, lookup: Lookup, last: int | None = None) -> list[Round]:
    """The rounds 1 to `last` (default: all), as far as they are known.

    Raises UserError for a round that the study does not have.
    """
    kind = study.explore.kind
    with blamed(kind, "say how many rounds it has"):
        planned, most = study.rounds, study.explore.most_rounds(study.base)
        keeps = study.explore.keeps
    last = planned if last is None else last
    if not 1 <= last <= most:
        more = "" if most == planned else f" (without --round it makes {planned})"
        raise UserError(f"{study.name} has no round {last}; choose one of 1 to {most}{more}")
    found: list[Round] = []
    for number in range(1, last + 1):
        designs = propose(study.explore, study.base, found)
        provisional = any(_open(before) for before in found)
        with blamed(kind, f"propose round {number}"):
            candidates = tuple(_candidates(designs, number, study.seeds))
        decision = None
        if not provisional:
            stored = lookup.decision(number)
            decision = decide(number, _results(candidates, lookup), stored, keeps)
        survivors = _survivors(designs, decision, keeps)
        found.append(Round(number, candidates, provisional, decision, survivors))
    return found


def _open(before: Round) -> bool:
    """Whether what comes after this round is not known yet."""
    return before.decision is None and len({one.point for one in before.candidates}) > 1


def _survivors(
    designs: Mapping[str, Design], decision: Decision | None, keeps: int
) -> tuple[Design, ...]:
    """The designs that go on; while that is not known, the first ones."""
    names = decision.survivors if decision else list(designs)[:keeps]
    return tuple(designs[name] for name in names)


def _candidates(
    designs: Mapping[str, Design], number: int, seeds: tuple[int, ...]
) -> Iterable[Candidate]:
    for point, design in designs.items():
        fields = {field: getattr(design, field) for field in Design.model_fields}
        for seed in seeds:
            name = point if len(seeds) == 1 else f"{point} (seed {seed})"
            yield Candidate(**fields, name=name, point=point, round=number, seed=seed)


def _results(
    candidates: Iterable[Candidate], lookup: Lookup
) -> dict[str, list[Evaluation | Failure | None]]:
    points: dict[str, list[Evaluation | Failure | None]] = {}
    for candidate in candidates:
        points.setdefault(candidate.point, []).append(lookup.result(candidate))
    return points
