"""`ablate proxy`: numbers that need no training, held against the scores that training found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ablate import proxies
from ablate.commands.making import make
from ablate.commands.output import columns, emit_json, folded, say
from ablate.config.study import Study, load_study
from ablate.errors import UserError
from ablate.files import home
from ablate.printable import one_line
from ablate.store.artifacts import Store

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult, StudyResult
    from ablate.stats.ranking import HitRate

FEW = 10
"""Candidates below which a hit rate says little."""


@dataclass(frozen=True)
class Measured:
    """What each proxy says of a candidate, None where it cannot, and its score where it has one."""

    candidate: "CandidateResult"
    numbers: Mapping[str, float | None]


@dataclass(frozen=True)
class Findings:
    """All of a study's candidates, each proxy's hit rate, and how alike any two encoders see."""

    study: "StudyResult"
    measured: Sequence[Measured]
    rates: "Mapping[str, HitRate | None]"
    alike: Mapping[str, Mapping[str, float]]


def show(name: str, overrides: Sequence[str], small: str | None, as_json: bool) -> None:
    """Print the hit rate of each proxy on the study's scores, and its number of each candidate.

    `small`: a study of the same mixtures with a smaller language model. UserError where features
    cannot be made, and where that study has none of the mixtures.
    """
    from ablate.reports.load import load
    from ablate.stats.ranking import hit_rate

    study = load_study(name, overrides)
    result = load(study)
    smaller = _scores(load(small)) if small else {}
    if small and not any(candidate.encoders in smaller for candidate in result.candidates):
        raise UserError(f"--small: {small} has no score of a mixture of {name}")
    seen = _seen(study, result, Store(home()))
    measured = [_measured(candidate, seen, smaller) for candidate in result.candidates]
    rates = {name: hit_rate([*_rounds(result, measured, name)]) for name in proxies.names()}
    findings = Findings(result, measured, rates, seen.alike())
    if as_json:
        emit_json(_as_data(findings))
    else:
        say(folded(_as_text(findings)))


def _scores(study: "StudyResult") -> dict[tuple[str, ...], float]:
    """By mixture."""
    return {
        candidate.encoders: candidate.composite
        for candidate in study.candidates
        if candidate.composite is not None
    }


def _seen(study: Study, result: "StudyResult", store: Store) -> proxies.Seen:
    """The features of every encoder that a candidate has, and of the texts, made where missing."""
    titles = dict.fromkeys(title for candidate in result.candidates for title in candidate.encoders)
    eyes = {title: proxies.features_step(study, title) for title in titles}
    reader = proxies.features_step(study)
    for step in (reader, *eyes.values()):
        make(step, None, study.infra, f"features of {step.slug}")
    folders = {title: store.folder(eye) for title, eye in eyes.items()}
    return proxies.Seen.load(folders, store.folder(reader))


def _measured(
    candidate: "CandidateResult", seen: proxies.Seen, smaller: Mapping[tuple[str, ...], float]
) -> Measured:
    from ablate.reports.losses import points_of

    losses = (
        [loss for _, loss in points_of(candidate.last_stages[0])] if candidate.last_stages else []
    )
    known = seen.of(candidate.encoders, losses, smaller.get(candidate.encoders))
    return Measured(candidate, {name: proxies.score(name, known) for name in proxies.names()})


def _rounds(
    study: "StudyResult", measured: Sequence[Measured], name: str
) -> Iterator[tuple[list[float], list[float]]]:
    """By round what the proxy says and what came of it, where both are known."""
    by_candidate = {each.candidate.name: each.numbers[name] for each in measured}
    for turn in study.rounds:
        pairs = [
            (by_candidate[candidate.name], candidate.composite) for candidate in turn.candidates
        ]
        known = [
            (number, score) for number, score in pairs if number is not None and score is not None
        ]
        yield [number for number, _ in known], [score for _, score in known]


def _as_data(findings: Findings) -> dict[str, Any]:
    return {
        "study": findings.study.name,
        "proxies": {
            name: {"title": proxies.find(name).title, **(asdict(rate) if rate else {})}
            for name, rate in findings.rates.items()
        },
        "candidates": [
            {
                "name": measured.candidate.name,
                "round": measured.candidate.round,
                "score": measured.candidate.composite,
                **measured.numbers,
            }
            for measured in findings.measured
        ],
        "cka": {title: dict(others) for title, others in findings.alike.items()},
    }


def _as_text(findings: Findings) -> str:
    """The hit rates first, as no number is worth anything without; then all numbers."""
    scored = [
        measured for measured in findings.measured if measured.candidate.composite is not None
    ]
    heads = ("PROXY", "BEST NAMED", "RANK", "R2", "LEFT OUT", "REGRET", "WORST", "KEEP")
    parts = [
        one_line(f"{findings.study.name}: what could be known without training, and its worth")
    ]
    if any(findings.rates.values()):
        parts += [columns(heads, _rate_rows(findings.rates)), LEGEND]
        if len(scored) < FEW:
            parts.append(f"{len(scored)} scored candidates are few: a hit rate may be luck.")
    else:
        parts.append("No round has two scores: no proxy has a hit rate here, so trust none.")
    return "\n\n".join([*parts, _numbers(findings), _matrix(findings.alike)])


LEGEND = """\
BEST NAMED: rounds whose best it names. RANK: rank correlation with the scores within rounds.
R2 of a line within rounds, and LEFT OUT: of each candidate predicted from the others.
REGRET, WORST: what its choice is behind the best, in points, mean and largest of a round.
KEEP: how many of a round to keep, by its order, to have had the best of every round."""


def _rate_rows(rates: "Mapping[str, HitRate | None]") -> Iterator[tuple[object, ...]]:
    for name, rate in rates.items():
        title = proxies.find(name).title
        if rate is None:
            yield (title, "not known", *[""] * 6)
        else:
            shares = [_number(value) for value in (rate.rank, rate.fit, rate.left_out)]
            points = f"{rate.regret:.1f}", f"{rate.worst:.1f}"
            yield (title, f"{rate.hits} of {rate.rounds}", *shares, *points, rate.keep)


def _numbers(findings: Findings) -> str:
    """What each proxy that knows anything says of each candidate."""
    known = [
        name
        for name in proxies.names()
        if any(measured.numbers[name] is not None for measured in findings.measured)
    ]
    heads = [proxies.find(name).short for name in known]
    rows = [
        (
            measured.candidate.round,
            findings.study.label(measured.candidate),
            "" if measured.candidate.composite is None else f"{measured.candidate.composite:.1f}",
            *(_number(measured.numbers[name]) for name in known),
        )
        for measured in findings.measured
    ]
    return columns(("ROUND", "CANDIDATE", "SCORE", *heads), rows)


def _matrix(alike: Mapping[str, Mapping[str, float]]) -> str:
    """How alike any two encoders see, 1 where they see the same (Mordal's clusters)."""
    rows = [
        (f"{number} {title}", *(f"{value:.2f}" for value in others.values()))
        for number, (title, others) in enumerate(alike.items(), start=1)
    ]
    return columns(("CKA OF TWO ENCODERS", *map(str, range(1, len(alike) + 1))), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
