"""`ablate export`: a trained candidate as a folder to hand on. Its own function imports torch."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog import step_kinds
from ablate.commands.output import note
from ablate.config.study import load_study
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult, StepResult, StudyResult


def export(named: str, folder: Path, overrides: Sequence[str]) -> None:
    """Write the model of `STUDY` (its best candidate) or `STUDY:CANDIDATE` into a new folder.

    Of several seeds it is the first. Raises UserError for a candidate that is not scored, or whose
    weights are gone, and for a folder that is there; the folder is seen whole or not at all.
    """
    from ablate.reports.comparison import BEST, candidate
    from ablate.reports.load import load

    study_name, colon, rest = named.rpartition(":")
    name, wanted = (study_name, rest) if colon else (named, BEST)
    if folder.exists():
        raise UserError(f"{folder} exists; name a folder that does not")
    study = load(load_study(name, overrides))
    chosen = candidate(study, wanted)
    trained = _last_stage(chosen)
    if trained.folder is None or trained.status != "done":
        raise UserError(
            f"the weights of {chosen.name} are gone ({trained.kind} {trained.key[:12]}): remove "
            "its score from the store, too, and run the study again"
        )
    _write(trained.folder, folder, _lineage(study, chosen, trained))
    note(f"{chosen.name} of {study.name}, trained with seed {trained.spec['seed']}, written to:")
    print(folder.absolute())


def _last_stage(result: "CandidateResult") -> "StepResult":
    """The step of the first seed that ended the candidate's training."""
    kinds = [step_kinds.find(step.kind) for step in result.steps]
    whole = [
        step
        for step, kind in zip(result.steps, kinds, strict=True)
        if kind.trains and not kind.per_expert and step.spec["seed"] == result.config["seeds"][0]
    ]
    return whole[-1]


def _lineage(
    study: "StudyResult", result: "CandidateResult", trained: "StepResult"
) -> dict[str, Any]:
    return {
        "study": study.name,
        "candidate": result.name,
        "seed": trained.spec["seed"],
        "suite": study.suite,
        "score": result.composite,
        "scores": dict(result.scores),
        "steps": {f"{step.kind} {step.slug}": step.key for step in result.steps},
    }


def _write(trained: Path, folder: Path, lineage: dict[str, Any]) -> None:
    from ablate.model.export import export_model
    from ablate.model.language import load_tokenizer
    from ablate.train.restore import load_trained

    model = load_trained(trained)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        export_model(model, load_tokenizer(model.spec.llm), made / folder.name, lineage)
        (made / folder.name).rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
