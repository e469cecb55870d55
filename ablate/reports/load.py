"""From a store to a `StudyResult`: which candidates a study has, and what each has left behind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ablate.catalog import suites
from ablate.catalog.metrics import count_unread
from ablate.catalog.step_kinds import EVALUATE, MASK, REFERENCE
from ablate.config.published_rows import published_rows
from ablate.config.references import Reference
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.files import NO_FILE, read_json, sha256_json
from ablate.files import home as default_home
from ablate.home import Home
from ablate.humanize import duration
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
from ablate.store.answers import ANSWERS, Answers, Key, Rows, rows_in
from ablate.store.artifacts import Store
from ablate.store.explanations import load_explained
from ablate.store.lease import Holding
from ablate.store.masks import WAYS, MaskedRun, mask_step
from ablate.store.read_cache import ReadCache, signatures
from ablate.store.references import reference_step
from ablate.store.replicates import Repetition, repetition, trained
from ablate.store.results import (
    Evaluation,
    Failure,
    StoredResults,
    evaluation,
    first_failure,
)
from ablate.store.states import StepStates, StepStatus
from ablate.store.steps import Step, ancestors
from ablate.strategies import Round, propose

SMALL = 2**22
"""Bytes of a file up to which its checksum is held before it is shown; weights are larger."""


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
    every = rounds_so_far(study, seen, last)
    turns = [turn for turn in every if not turn.provisional]
    known = [candidate for turn in turns for candidate in turn.candidates]
    rounds = [_round(looks, seen) for looks in _grouped(study, turns)]
    older = seen.older(
        candidate
        for candidate in known
        if seen.states.of(seen.steps(candidate)[-1]).state != "done"
    )
    scored = [candidate for turn in rounds for candidate in turn.candidates if candidate.answered]
    again = _repetition(scored, seen)
    seen.memory.keep()
    suite = study.asks
    repeats = Repeats(study.published, published_rows(study, known)) if study.published else None
    choices, source = _published_choices(study)
    references, asked = _references(study, seen)
    suites.require_same_measure(
        asked
        + [
            (candidate.name, suites.measure(step.spec, step.record["result"].get("sets", {})))
            for turn in rounds
            for candidate in turn.candidates
            for step in candidate.steps
            if step.kind == EVALUATE and step.status == "done"
        ]
    )
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


def _references(
    study: Study, seen: "CachedResults"
) -> tuple[tuple[ReferenceResult, ...], list[tuple[str, Mapping[str, Any]]]]:
    """What is known of the study's references; and by what measure those were scored that were."""
    tasks = [task.task for task in study.asks.tasks]
    results, measures = [], []
    for reference in study.references:
        if reference.model is None:
            scores = reference.scores(study.asks)
            mean = sum(scores.values()) / len(tasks) if len(scores) == len(tasks) else None
            results.append(ReferenceResult(reference.name, reference.words, True, scores, mean))
            continue
        step = reference_step(reference, study.asks)
        now = seen.step(step, seen.states.of(step))
        result = now.record.get("result") or {}
        if now.status != "done":
            why = str((now.record.get("error") or {}).get("message", ""))
            failed = ReferenceResult(
                reference.name, reference.words, False, status=now.status, failure=why
            )
            results.append(failed)
            continue
        measures.append((reference.name, suites.measure(step.spec, result.get("sets", {}))))
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


def _masked(known: Sequence[Candidate], seen: "CachedResults") -> dict[str, list[MaskedRun]]:
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


def _repetition(scored: Sequence[CandidateResult], seen: "CachedResults") -> Repetition:
    """What tells training noise of this recipe and suite.

    Runs of a candidate that has several here are counted with it.
    """
    evaluated = {
        candidate: [step for step in candidate.steps if step.kind == EVALUATE]
        for candidate in scored
    }
    home, memory = seen.store.home, seen.memory
    folders = [step.folder for steps in evaluated.values() for step in steps if step.folder]
    subjects = {made.subject for path in folders if (made := trained(home, path, memory))}
    but = {step.key for steps in evaluated.values() if len(steps) > 1 for step in steps}
    return repetition(home, subjects, but, memory)


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


def _round(turns: Sequence[Round], seen: "CachedResults") -> RoundResult:
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


def _candidate(name: str, seeds: Sequence[Candidate], seen: "CachedResults") -> CandidateResult:
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
    config = first.model_dump(mode="json", exclude={"name", "point", "round", "seed"})
    return CandidateResult(
        name=name,
        point=first.point,
        round=first.round,
        encoders=first.encoders,
        fusion=first.fused,
        config={**config, "seeds": [candidate.seed for candidate in seeds]},
        steps=tuple(seen.step(step, standings[step.key]) for step in steps),
        **known,
    )


class CachedResults(StoredResults):
    """A study's results, each artifact read once: checked whole, or as it was when it last was.

    An artifact is remembered for as long as no file in it changes.
    """

    def __init__(self, store: Store, study: Study) -> None:
        super().__init__(store, study)
        path = Home(store.home).memory("artifacts", study.id)
        self.memory = ReadCache(path, of="records, marks and what was not read")
        self.states = StepStates(store, self._record)
        self._marks: dict[str, Mapping[str, Any]] = {}
        self._asked: dict[str, tuple[list[Key], list[str]]] = {}

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        steps = self.steps(candidate)
        last = self.states.of(steps[-1])
        if last.state == "done" and last.record:
            return evaluation(self.store, steps[-1], last.record)
        return first_failure(steps, self.states)

    def step(self, step: Step, now: StepStatus) -> StepResult:
        """A step as the report shows it."""
        folder: Path | None = self.store.folder(step)
        if now.state != "done":
            folder = work if (work := self.store.work(step)).is_dir() else None
        identity = (step.kind, step.key, step.slug, step.dirname)
        far = _far(now.holding) if now.holding else ""
        return StepResult(
            *identity, now.state, step.spec, now.record or {}, folder, far, step.stage
        )

    def answers(self, step: Step) -> Answers:
        """The answers of an evaluate step that is done."""
        marks = self._marks[step.key]
        rows = partial(rows_in, self.store.file(step, ANSWERS))
        if (name := marks["asked"]) not in self._asked:
            asked = self.memory.get(name, name, lambda: _asked(rows()))
            self._asked[name] = (
                [(task, question) for task, question, _ in asked],
                [image for *_, image in asked],
            )
        return Answers(*self._asked[name], marks["scores"], marks["weights"], rows)

    def images(self, step: Step) -> Path | None:
        """The folder of the images that an evaluate step asked about which is done."""
        folder = self._marks[step.key]["images"]
        return Home(self.store.home).data / folder if folder else None

    def _record(self, step: Step) -> Mapping[str, Any] | None:
        """The record of an artifact that is whole.

        A trained part that is damaged is set aside, and its step counts as never done; so are
        answers that are, and BadArtifactError says it.
        """
        try:
            files = signatures(str(self.store.folder(step)))
        except NO_FILE:
            artifact = self._artifact(step)
        else:
            artifact = self.memory.get(step.key, files, partial(self._artifact, step))
        if not artifact:
            return None
        self._marks[step.key] = artifact.get("marks", {})
        record: Mapping[str, Any] = artifact["record"]
        return record

    def _artifact(self, step: Step) -> dict[str, Any] | None:
        """What is to be remembered of an artifact that is whole."""
        record = self.store.record(step)
        if record is None:
            return None
        if step.kind in (EVALUATE, REFERENCE):
            folder = self.store.verified(step, record)
            return {"record": record, "marks": self._marked(step, folder, record)}
        return {"record": record} if self.store.sound(step, SMALL, record) else None

    def unread(self, steps: Sequence[Step]) -> dict[str, int]:
        """By task how many answers of these evaluations were not read."""
        counts: Counter[str] = Counter()
        for step in steps:
            counts.update(self._marks[step.key]["unread"])
        return dict(counts)

    def _marked(self, step: Step, folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        """What the answers are worth; their questions are remembered once for all candidates."""
        scores = record["result"]["scores"]
        rows = rows_in(self.store.file(step, ANSWERS))
        asked = _asked(rows)
        name = sha256_json(asked)
        self.memory.get(name, name, lambda: asked)
        note = folder / "data.json"
        return {
            "asked": name,
            "scores": [row["score"] for row in rows],
            "weights": [row["weight"] for row in rows],
            "images": read_json(note)["folder"] if note.exists() else None,
            "unread": count_unread({task: scores[task]["metric"] for task in scores}, rows),
        }


def _asked(rows: Rows) -> list[tuple[str, str, str]]:
    """Task, id and image of each question."""
    return [(row["task"], row["id"], row["image"]) for row in rows]


def _far(now: Holding) -> str:
    """How far a step is, and how long it still takes at its pace."""
    if not now.done or not now.total:
        return "starting"
    progress = f"{now.done:,} of {now.total:,}"
    if not now.seconds:
        return progress
    return f"{progress}, about {duration((now.total - now.done) * now.seconds / now.done)} left"
