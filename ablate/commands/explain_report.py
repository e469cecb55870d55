"""`ablate explain --report`: explanations of some answers, kept for the report to show."""

from collections.abc import Sequence

from ablate.commands.making import make
from ablate.commands.output import emit_json, note, say
from ablate.commands.trained import evaluation_of, trained_candidate
from ablate.errors import UserError
from ablate.store.explanations import explain_step


def make_for_report(
    named: str, backend: str | None, overrides: Sequence[str], as_json: bool
) -> None:
    """Explain the answers that the report's rule chooses, and of the base those that flip.

    UserError for a candidate that is not scored, or where no answer is to be explained.
    """
    from ablate.reports.explanations import BROKEN, FIXED, RULE, questions

    trained = trained_candidate(named, overrides)
    config, study, candidate = trained.config, trained.study, trained.candidate
    kinds = questions(study, candidate)
    asked = [key for keys in kinds.values() for key in keys]
    if not asked:
        raise UserError(f"{candidate.name} flips no answer and has none wrong: none to explain")
    steps = [explain_step(trained.evaluation, asked)]
    if flips := [key for kind in (FIXED, BROKEN) for key in kinds.get(kind, ())]:
        steps.append(explain_step(evaluation_of(config, study.base), flips))
    for step in steps:
        answers = len(step.spec["questions"])
        make(step, backend, config.infra, f"{answers} answers of {step.slug} explained")
    if as_json:
        emit_json(
            {
                "study": study.name,
                "candidate": candidate.name,
                "answers": {kind: [list(key) for key in keys] for kind, keys in kinds.items()},
            }
        )
    else:
        counts = ", ".join(f"{len(keys)} {kind}" for kind, keys in kinds.items())
        say(f"explained of {candidate.name}: {counts}")
        note(f"{RULE} `ablate report {study.name}` shows them.")
