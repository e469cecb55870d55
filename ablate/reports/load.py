"""From a store to a `StudyResult`: which candidates a study has, and what each has left behind."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ablate.catalog import suites
from ablate.catalog.step_kinds import EVALUATE, MASK
from ablate.config.published_rows import published_rows
from ablate.config.references import Reference
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.files import home as default_home
from ablate.home import Home
from ablate.reports.cached_results import CachedResults
from ablate.reports.model import (
    CandidateResult,
    Contest,
    Repeats,
    RoundResult,
    StepResult,
    StudyResult,
)
from ablate.reports.references import ReferenceResult
from ablate.reports.scoreboard import Scoreboard
from ablate.search.explore import rounds_so_far
from ablate.search.replay import replay
from ablate.search.tabulated import paper_table
from ablate.store.answers import Answers
from ablate.store.artifacts import Store
from ablate.store.explanations import load_explained
from ablate.store.masks import WAYS, MaskedRun, mask_step
from ablate.store.references import reference_step
from ablate.store.replicates import Repetition, repetition, trained_by
from ablate.store.results import Evaluation
from ablate.store.steps import ancestors
from ablate.strategies import Round, propose


def load(
    study: Study | str, home: Path | str | None = None, last: int | None = None
) -> StudyResult:
    """All that the store below `home` (default: `ablate.files.home()`) knows of a study.

    `study`: a loaded one, or its name or path; `last`: rounds 1 to it only. Rounds whose
    candidates hang on an open decision are left out. Raises UserError where a `home` that is given
    has no store, or candidates were scored by different measures.
    """
    if isinstance(study, str):
        study = load_study(study)
    if home is not None and not Home(Path(home)).store.is_dir():
        raise UserError(
            f"{home} has no store: give the folder that `ablate run` filled, runs/ or $ABLATE_HOME"
        )
    seen = CachedResults(Store(Path(home or default_home())), study)
    every = rounds_so_far(study, seen, last, seen.memory)
    turns = [turn for turn in every if not turn.provisional]
    known = [candidate for turn in turns for candidate in turn.candidates]
    rounds = [_round(looks, seen) for looks in _grouped(study, turns)]
    older = seen.older(
        candidate
        for candidate in known
        if seen.states.of(seen.steps(candidate)[-1]).state != "done"
    )
    scored = [candidate for turn in rounds for candidate in turn.candidates if candidate.answered]
    again = _repetition(known, scored, seen)
    seen.memory.keep()
    suite = study.asks
    repeats = Repeats(study.published, published_rows(study, known)) if study.published else None
    choices, source = _published_choices(study)
    references, measures = _references(study, seen)
    suites.require_same_measure([*measures, *_measures(rounds)])
    return StudyResult(
        name=study.name,
        id=study.id,
        title=study.title,
        question=study.question,
        strategy=study.explore,
        suite=suite.name,
        tasks={task.task: task.title or task.task for task in suite.tasks},
        planned_rounds=_planned(study, every, last),
        base_name=_base_name(study, rounds),
        rounds=tuple(rounds),
        home=seen.store.home,
        benchmarks={task.task: task.benchmark for task in suite.published},
        published=repeats,
        families={task.task: task.family for task in suite.tasks},
        older=older,
        replicates=again.runs,
        floors=again.floors,
        published_choices=choices,
        published_source=source,
        objectives=_objectives(study, turns),
        masked=_masked(known, seen),
        explained=load_explained(
            seen.store, ((candidate.point, seen.steps(candidate)[-1]) for candidate in known)
        ),
        references=references,
    )


def _measures(rounds: Sequence[RoundResult]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """By what measure each candidate was scored, as often as it was."""
    for turn in rounds:
        for candidate in turn.candidates:
            for step in candidate.steps:
                if step.kind == EVALUATE and step.status == "done":
                    yield candidate.name, _measure(step)


def _measure(step: StepResult) -> Mapping[str, Any]:
    """By what a step that scores did so."""
    return suites.measure(step.spec, step.record["result"].get("sets", {}))


def _references(
    study: Study, seen: CachedResults
) -> tuple[tuple[ReferenceResult, ...], list[tuple[str, Mapping[str, Any]]]]:
    """What is known of the study's references; and by what measure those were scored that were."""
    tasks = [task.task for task in study.asks.tasks]
    results: list[ReferenceResult] = []
    measures: list[tuple[str, Mapping[str, Any]]] = []
    for reference in study.references:
        if reference.model is None:
            scores = reference.scores(study.asks)
            mean = sum(scores.values()) / len(tasks) if len(scores) == len(tasks) else None
            results.append(ReferenceResult(reference.name, reference.words, True, scores, mean))
            continue
        step = reference_step(reference, study.asks)
        now = seen.step(step, seen.states.of(step))
        if now.status != "done":
            name, words = reference.name, reference.words
            left = ReferenceResult(name, words, False, status=now.status, failure=now.reason)
            results.append(left)
            continue
        measures.append((reference.name, _measure(now)))
        results.append(_scored_reference(reference, now, seen.answers(step)))
    return tuple(results), measures


def _scored_reference(reference: Reference, step: StepResult, answers: Answers) -> ReferenceResult:
    result = step.record["result"]
    scored = CandidateResult(
        reference.name, 0, (), "", {"seeds": [0]}, (step,), seed_scores=(1.0,), runs=(answers,)
    )
    return ReferenceResult(
        name=reference.name,
        words=reference.words,
        published=False,
        scores={task: score["value"] for task, score in result["scores"].items()},
        composite=float(result["composite"]),
        interval=Scoreboard([scored]).score(scored),
        answered=tuple(result["answered"]),
    )


def _masked(known: Sequence[Candidate], seen: CachedResults) -> dict[str, list[MaskedRun]]:
    """What was found of the candidates under masks, of the first run of each that was tried."""
    runs: dict[str, list[MaskedRun]] = {}
    if not (Home(seen.store.home).store / MASK).is_dir():
        return runs
    for candidate in known:
        evaluation = seen.steps(candidate)[-1]
        steps = [mask_step(evaluation, way) for way in WAYS]
        made = [
            MaskedRun.load(step, seen.store.verified(step, record), record)
            for step in steps
            if (record := seen.store.record(step))
        ]
        if made:
            runs.setdefault(candidate.point, made)
    return runs


def _repetition(
    known: Sequence[Candidate], scored: Sequence[CandidateResult], seen: CachedResults
) -> Repetition:
    """What tells training noise of this recipe and suite.

    Runs of a candidate that has several here are counted with it.
    """
    evaluated = [
        [step.key for step in candidate.steps if step.kind == EVALUATE] for candidate in scored
    ]
    keys = {key for each in evaluated for key in each}
    steps = (seen.steps(candidate)[-1] for candidate in known)
    subjects = {trained_by(step, seen.memory).subject for step in steps if step.key in keys}
    but = {key for each in evaluated if len(each) > 1 for key in each}
    return repetition(seen.store.home, subjects, but, seen.memory)


def _published_choices(study: Study) -> tuple[tuple[Contest, ...], str]:
    """What the study's search chooses from over the published table that it repeats, and whose
    scores those are; or why there is nothing to choose from."""
    try:
        table = paper_table(study)
        rounds = replay(table).rounds
    except UserError as error:
        return (), str(error)
    contests = []
    for turn in rounds:
        ended = {candidate.point: table.result(candidate) for candidate in turn.candidates}
        scores = {
            name: evaluation.scores
            for name, evaluation in ended.items()
            if isinstance(evaluation, Evaluation)
        }
        encoders = {candidate.point: candidate.encoders for candidate in turn.candidates}
        if turn.decision:
            contests.append(Contest(turn.number, scores, encoders, turn.decision.winner))
    return tuple(contests), table.source


def _grouped(study: Study, turns: Sequence[Round]) -> list[list[Round]]:
    """The turns of each round; what stands side by side is one round, in however many turns."""
    if not study.explore.goes_on:
        return [list(turns)]
    return [list(same_round) for _, same_round in groupby(turns, lambda turn: turn.round)]


def _planned(study: Study, turns: Sequence[Round], last: int | None) -> int:
    """How many rounds the study has: fewer than it says where its strategy found no more to try."""
    if not study.explore.goes_on:
        return 2 if turns[-1].provisional else 1
    reached = turns[-1].round
    asked = study.rounds if last is None else last
    return reached if reached < asked else max(study.rounds, asked)


def _round(turns: Sequence[Round], seen: CachedResults) -> RoundResult:
    """One round of one or several turns: what is whole of all of them, and what is not.

    Of a point that has whole runs a further one counts once its turn is decided.
    """
    whole: dict[str, list[Candidate]] = {}
    parts: list[Candidate] = []
    for turn in turns:
        scored = set(whole) if turn.decision is None else set()
        for candidate in turn.candidates:
            if candidate.fidelity.is_whole and candidate.point not in scored:
                whole.setdefault(candidate.point, []).append(candidate)
            else:
                parts.append(candidate)
    made = [turn.decision for turn in turns if turn.decision]
    return RoundResult(
        turns[-1].round,
        tuple(_candidate(point, seeds, seen) for point, seeds in whole.items()),
        _decided(turns),
        tuple(_candidate(candidate.name, [candidate], seen) for candidate in parts),
        tuple(decision.to_json() for decision in made if decision.look),
    )


def _decided(turns: Sequence[Round]) -> Mapping[str, Any] | None:
    """What the last turn of a round decided; of several rounds side by side the best of them."""
    last = turns[-1].decision
    if turns[0].round == turns[-1].round:
        return last.to_json() if last and last.settled else None
    made = [
        decision for turn in turns if (decision := turn.decision) and decision.fidelity.is_whole
    ]
    if not made or not turns[-1].ended:
        return None
    best = max(made, key=lambda decision: decision.scores[decision.winner])
    failed = {point: why for decision in made for point, why in decision.failed.items()}
    return {**best.to_json(), "failed": failed}


def _objectives(study: Study, turns: Sequence[Round]) -> dict[str, dict[str, float]]:
    """By candidate what its search weighs against each other; nothing where that is the score."""
    view = study.strategy.view
    if view is None or len(view.objectives) == 1:
        return {}
    return {
        point: dict(zip(view.objectives, values, strict=True))
        for turn in turns
        for point, values in (turn.decision.values if turn.decision else {}).items()
    }


def _base_name(study: Study, rounds: Sequence[RoundResult]) -> str:
    """The first round's candidate that is the study's base, else its first."""
    named = propose(study.explore, study.base, ()).items()
    first = next(
        (candidate.name for turn in rounds for candidate in turn.candidates), study.base.mixture
    )
    return next((name for name, trial in named if trial.design == study.base), first)


def _candidate(name: str, seeds: Sequence[Candidate], seen: CachedResults) -> CandidateResult:
    """One design point: its seeds' steps together, their scores as means."""
    first = seeds[0]
    chains = [seen.steps(candidate) for candidate in seeds]
    ends = [seen.states.of(chain[-1]) for chain in chains]
    known: dict[str, Any] = {}
    records = [record.record for record in ends if record.state == "done" and record.record]
    if len(records) == len(chains):
        results = [record["result"] for record in records]
        known = {
            "scores": {
                task: sum(result["scores"][task]["value"] for result in results) / len(results)
                for task in results[0]["scores"]
            },
            "seed_scores": tuple(float(result["composite"]) for result in results),
            "runs": tuple(seen.answers(chain[-1]) for chain in chains),
            "images": seen.images(chains[0][-1]),
            "unread": seen.unread([chain[-1] for chain in chains]),
        }
    steps = ancestors(chain[-1] for chain in chains)
    standings = seen.states.of_all(steps, chains)
    return CandidateResult(
        name=name,
        point=first.point,
        round=first.round,
        encoders=first.encoders,
        fusion=first.fused,
        config={**seen.config(first), "seeds": [candidate.seed for candidate in seeds]},
        steps=tuple(seen.step(step, standings[step.key]) for step in steps),
        **known,
    )
