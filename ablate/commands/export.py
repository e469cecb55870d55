"""`ablate export`: a trained candidate as a folder to hand on. Its own function imports torch."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.commands.options import Layout
from ablate.commands.output import note
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.evaluate.answerer import Answerer
    from ablate.model.export.native import NativeFormat


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

    speech = Speech.of(answerer.tokenizer, answerer.own_canvas, answerer.padding, answerer.outputs)
    if layout is Layout.ablate:
        require_exportable(answerer.model)
        write: Callable[[Path, str], None] = partial(export_model, answerer.model, speech)
    else:
        native = _native_format(layout)(answerer.model, speech)
        native.require()
        write = native.write
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        write(made / folder.name, card)
        (made / folder.name).rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _native_format(layout: Layout) -> type["NativeFormat"]:
    from ablate.model.export.idefics3 import Idefics3
    from ablate.model.export.internvl import InternVl
    from ablate.model.export.llava import Llava

    known: Sequence[type[NativeFormat]] = (Llava, InternVl, Idefics3)
    return {native.word: native for native in known}[layout]
