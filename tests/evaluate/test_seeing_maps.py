"""A candidate that looks at maps: the same where it is scored, talked to, masked or explained."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ablate.annotators import Pixels
from ablate.catalog import annotators, encoders
from ablate.catalog.model_spec import ModelSpec
from ablate.data.images import read_image
from ablate.errors import UserError
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.annotate import annotate
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.asks import Picture
from ablate.evaluate.dialogue import Dialogue
from ablate.evaluate.explanations import explain
from ablate.evaluate.score import evaluate
from ablate.files import read_json, write_json
from ablate.model.export import require_exportable
from ablate.model.mllm import build_model
from ablate.model.parts import save_parts

ROLE, CHOICE = "annotate:micro_kinds", {"name": "micro_kinds"}
TITLE = "map:micro_kinds@64"


@pytest.fixture(scope="module")
def seeing(candidate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The candidate, with an encoder of maps beside its own."""
    told = read_json(candidate / "spec.json")["spec"]
    whole = ModelSpec.from_json(told["model"])
    spec = dataclasses.replace(whole, encoders=[*whole.encoders, encoders.resolve(TITLE)])
    model = build_model(spec, load_weights=False, seed=3)
    with torch.no_grad():
        for weight in model.projector.parameters():
            weight.mul_(20.0)
    folder = tmp_path_factory.mktemp("seeing") / "seeing-0123456789ab"
    folder.mkdir()
    save_parts(model, folder, model.parts)
    write_json(folder / "spec.json", {"spec": {**told, "model": spec.to_json()}})
    return folder


def test_a_map_is_seen_where_it_is_scored_as_in_a_conversation_and_an_explanation(
    seeing: Path, step: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: dict[str, Pixels] = {}
    pixels = AblateLMM._pixels

    def noted(adapter: AblateLMM, picture: Picture) -> Pixels:
        made = pixels(adapter, picture)
        looked[Path(picture.file).name] = made
        return made

    monkeypatch.setattr(AblateLMM, "_pixels", noted)
    scored, drawn = step(), step("micro", "maps")
    drawn.spec |= {"annotator": CHOICE, "weights": dict(annotators.build(CHOICE).weights())}
    scored.parents, scored.annotated = {"finetune": seeing}, {ROLE: drawn.work}
    for ctx in drawn, scored:
        ctx.work.mkdir()
    annotate(drawn)
    evaluate(scored)
    rows = [json.loads(line) for line in (scored.work / "answers.jsonl").read_text().splitlines()]
    folder = scored.home / "data" / read_json(scored.work / "data.json")["folder"]
    subject = Answerer.load(seeing)
    drawer = annotators.drawer(CHOICE)
    assert len(looked) == 8
    for row in rows[::8]:
        image = folder / row["image"]
        seen = subject.picture(image)
        assert seen.shape == (3 + drawer.channels, 128, 128)
        assert np.array_equal(seen, looked[image.name])
        assert np.array_equal(seen[:3], read_image(image))
        assert seen[3:].any()
        talk = Dialogue(subject)
        talk.show(seen)
        assert talk.say(row["question"]).startswith(row["answer"])
    masked = Dialogue(subject, kept=[0])
    masked.show(seen)
    assert isinstance(masked.say(rows[0]["question"]), str)
    explained = step("micro", "explained")
    explained.work.mkdir()
    explained.spec = {"questions": [[row["task"], row["id"]] for row in rows if row["answer"]][:1]}
    explained.parents = {"finetune": seeing, "evaluate": scored.work}
    assert explain(explained) == {"answers": 1}
    [shown] = json.loads((explained.work / "explained.json").read_text())
    assert {*shown["maps"]} == {"clip-micro@32", TITLE}


def test_who_cannot_have_maps_drawn_is_told(seeing: Path) -> None:
    subject = Answerer.load(seeing)
    with pytest.raises(UserError, match="is shown what micro_kinds finds in an image"):
        subject.require_silent()
    with pytest.raises(UserError, match="look at maps that an annotator draws, which is not in"):
        require_exportable(subject.model)
