"""`ablate export`: a trained candidate as a folder to hand on. Its own function imports torch."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.commands.options import Layout
from ablate.commands.output import note
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.evaluate.answerer import Answerer


def export(named: str, folder: Path, layout: Layout, overrides: Sequence[str]) -> None:
    """Write the model of `STUDY` (its best candidate) or `STUDY:CANDIDATE` into a new folder.

    `layout`: with the code that it takes, or one of transformers' own. Of several seeds it is the
    first. Raises UserError for a candidate that is not scored, or whose weights are gone, for a
    folder that is there, and for a model that the layout does not hold; the folder is seen whole or
    not at all.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; name a folder that does not")
    _, study, chosen, trained, _ = trained_candidate(named, overrides)
    assert trained.folder is not None
    from ablate.evaluate.answerer import Answerer
    from ablate.reports.model_card import model_card

    card = model_card(study, chosen, trained, own_code=layout is Layout.ablate)
    answerer = Answerer.load(trained.folder)
    _write(answerer, folder, layout, card)
    note(f"{chosen.name} of {study.name}, trained with seed {trained.spec['seed']}, written to:")
    print(folder.absolute())


def _write(answerer: "Answerer", folder: Path, layout: Layout, card: str) -> None:
    from ablate.model.export import Speech, export_model, require_exportable
    from ablate.model.export.llava import export_llava, require_llava

    speech = Speech.of(answerer.tokenizer, answerer.own_canvas, answerer.padding, answerer.outputs)
    require_exportable(answerer.model)
    if layout is Layout.llava:
        require_llava(answerer.model, speech)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        write = export_model if layout is Layout.ablate else export_llava
        write(answerer.model, speech, made / folder.name, card)
        (made / folder.name).rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
