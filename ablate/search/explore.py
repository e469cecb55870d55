"""What a study tries, turn by turn: a pure function of what the store holds.

Killed at any moment and asked again, it proposes the same candidates and decides the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ablate.config.study import Study
from ablate.cost.checks import require_built
from ablate.design import Candidate, Design
from ablate.errors import UserError
from ablate.search import sieving
from ablate.search.costs import cost_of
from ablate.search.decision import decide
from ablate.store.artifacts import Store
from ablate.store.read_cache import ReadCache
from ablate.store.results import Failure, Lookup, StoredResults
from ablate.strategies import Outcome, Round, Sifted, Strategy, Trial, blamed, propose


def rounds_so_far(
    study: Study, lookup: Lookup, last: int | None = None, memory: ReadCache | None = None
) -> list[Round]:
    """The turns of rounds 1 to `last` (default: all), as far as they are known.

    `memory`: of what was read of evaluations, which then is not read again for their noise.
    Raises UserError for a round that the study does not have.
    """
    strategy = study.strategy
    with blamed(strategy.kind, "say how many rounds it has"):
        planned, most = study.rounds, strategy.most_rounds(study.base)
        keeps = strategy.keeps
    strategy.restrict(require_built)
    last = planned if last is None else last
    if not 1 <= last <= most:
        more = "" if most == planned else f" (without --round it makes {planned})"
        raise UserError(f"{study.name} has no round {last}; choose one of 1 to {most}{more}")
    rounds: list[Round] = []
    ended: list[Outcome] = []
    designs: dict[str, Design] = {}  # of the round
    while not (rounds and rounds[-1].round == last and _is_last(rounds[-1], strategy)):
        trials = propose(strategy, study.base, rounds)
        number = len(rounds) + 1
        again = bool(rounds) and not trials.keys().isdisjoint(rounds[-1].points)
        round_ = rounds[-1].round + (not again) if rounds else 1
        if not trials or round_ > last:
            break
        provisional = any(_open(before, strategy) for before in rounds)
        sifted = None
        if rounds and not again and not provisional and _sieves(strategy, trials):
            sifted = _sifted(study, trials, lookup, number)
            provisional = sifted is None
            left_out = sifted.left_out if sifted else ()
            trials = {name: trial for name, trial in trials.items() if name not in left_out}
        with blamed(strategy.kind, f"propose round {round_}"):
            candidates = tuple(_candidates(trials, round_, study.seeds))
        decision = None
        if not rounds and lookup.decision(1) is None:  # what is not known is said before a run
            for what in strategy.costs:
                cost_of(study, candidates[0], what)
        outcomes = None if provisional else _outcomes(study, candidates, lookup, number)
        if outcomes is not None:
            stored = lookup.decision(number)
            decision = decide(number, outcomes, ended, strategy, stored, memory)
            decision = decision and replace(decision, filter=sifted)
            ended += outcomes
        designs_here = {point: trial.design for point, trial in trials.items()}
        designs = {**designs, **designs_here} if again else designs_here
        names = decision.survivors if decision else tuple(designs_here)[:keeps]
        survivors = tuple(designs[name] for name in names)
        rounds.append(
            Round(
                number,
                candidates,
                provisional,
                decision,
                survivors,
                round_,
                ended=outcomes is not None,
            )
        )
    return rounds


def _sieves(strategy: Strategy, trials: Mapping[str, Trial]) -> bool:
    """Whether some of a round are to be left out."""
    return strategy.sieve is not None and len(trials) > strategy.sieve.keep


def _sifted(
    study: Study, trials: Mapping[str, Trial], lookup: Lookup, number: int
) -> Sifted | None:
    """What the strategy's sieve makes of a round; None while features are not there.

    Its risk stays as it was known when the round was decided.
    """
    sieve = study.strategy.sieve
    if sieve is None or lookup.home is None:
        return None
    store = Store(lookup.home)
    mixtures = {point: trial.design.encoders for point, trial in trials.items()}
    numbers = sieving.numbers(study, sieve, mixtures, store)
    if numbers is None:
        return None
    left_out = tuple(numbers)[sieve.keep :]
    if before := (lookup.decision(number) or {}).get("filter"):
        stored = Sifted.from_json(before)
        if (stored.proxy, stored.keep, stored.left_out) == (sieve.proxy, sieve.keep, left_out):
            return stored
    risk = f"{sieving.UNKNOWN}: `measured_on` names a study that tells"
    if other := sieving.measured_on(sieve):
        results = StoredResults(store, other)
        risk = sieving.risk(sieve, other, rounds_so_far(other, results), results, store)
    return Sifted(sieve.proxy, sieve.keep, numbers, left_out, risk)


def _is_last(turn: Round, strategy: Strategy) -> bool:
    """Whether no other turn of its round follows."""
    return turn.decision.settled if turn.decision else not strategy.looks


def _open(before: Round, strategy: Strategy) -> bool:
    """Whether what comes after this turn is not known yet."""
    if strategy.guesses:
        return not before.ended
    return before.decision is None and len(before.points) > 1


def _candidates(
    trials: Mapping[str, Trial], number: int, seeds: tuple[int, ...]
) -> Iterable[Candidate]:
    """A candidate a seed; its name tells seed and fidelity where they are not the study's own."""
    for point, trial in trials.items():
        fields = {field: getattr(trial.design, field) for field in Design.model_fields}
        for seed in seeds if trial.seeds is None else trial.seeds:
            about = [trial.fidelity.words] if not trial.fidelity.is_whole else []
            about += [f"seed {seed}"] if seeds != (seed,) else []
            name = f"{point} ({', '.join(about)})" if about else point
            yield Candidate(
                **fields,
                name=name,
                point=point,
                round=number,
                seed=seed,
                fidelity=trial.fidelity,
            )


def _outcomes(
    study: Study, candidates: Sequence[Candidate], lookup: Lookup, turn: int
) -> list[Outcome] | None:
    """How the candidates ended; None while one has not."""
    outcomes = []
    for candidate in candidates:
        result = lookup.result(candidate)
        if result is None:
            return None
        if isinstance(result, Failure):
            failure = f"{result.step.name}: {result.message}"
            outcomes.append(Outcome(candidate, None, failure, turn))
        else:
            outcomes.append(
                Outcome(candidate, result, turn=turn, cost=partial(cost_of, study, candidate))
            )
    return outcomes
