"""The README.md of an exported model: how to load it, whose licences hold, where it came from."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from ablate.catalog import annotators, encoders, llms
from ablate.config.distribution import installed_version
from ablate.errors import UserError
from ablate.files import sha256_json
from ablate.printable import one_line
from ablate.reports.formats import markdown
from ablate.reports.frame import estimate, framed
from ablate.reports.model import CandidateResult, StepResult, StudyResult
from ablate.reports.significance import covered

FRONT = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
license: other
license_name: see-below
tags: [ablate, vision-language-model]
---
"""
LOAD = """\
```python
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained(DIR{trust})
model = AutoModelForImageTextToText.from_pretrained(DIR{trust})
said = [
    {{"type": "image", "image": "picture.png"}},
    {{"type": "text", "text": "What is in the picture?"}},
]
inputs = processor.apply_chat_template(
    [{{"role": "user", "content": said}}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    return_tensors="pt",{outputs}
)
answer = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True)[0])
```
"""
OUTPUTS = """\
It was trained and scored with what annotators say of an image behind it in the prompt. `OUTPUTS`
is of each image a list of texts, those of {names}, each empty where that says nothing; the
annotators are not in this folder.
"""


def model_card(
    study: StudyResult, candidate: CandidateResult, trained: StepResult, *, own_code: bool
) -> str:
    """The card of the model that the step `trained` left; `own_code`: its folder brings code."""
    spec = trained.spec["model"]
    outputs = [annotators.label(output["annotator"]) for output in trained.spec.get("outputs", ())]
    titles = [encoder["name"] + f"@{encoder['resolution']}" for encoder in spec["encoders"]]
    tokens = trained.record["result"]["visual_tokens"]
    fused = f"Fused by `{spec['fusion']['name']}` into {tokens} visual tokens of an image."
    return "\n".join(
        [
            FRONT,
            f"# {_text(' + '.join(titles))} on {_text(spec['llm']['name'])}\n",
            fused,
            f"Written by ablate {installed_version()}; nothing of it is needed to run the model.\n",
            LOAD.format(
                trust=", trust_remote_code=True" if own_code else "",
                outputs='\n    processor_kwargs={"outputs": OUTPUTS},' if outputs else "",
            ),
            *([OUTPUTS.format(names=", ".join(map(_text, outputs)))] if outputs else []),
            "## Licences\n",
            "Each part keeps the terms under which its weights were published, as far as they are "
            "known here; what was trained on holds, too.\n",
            *_licences(titles, spec["llm"]["name"]),
            "\n## Where it comes from\n",
            f"Study {_text(study.name)} ({_text(study.title)}), candidate {_text(candidate.name)}, "
            f"seed {trained.spec['seed']}.\n",
            *_steps(candidate, trained),
            "\n### Data\n",
            *_data(candidate),
            f"\n## Scores\n\nSuite `{study.suite}`, 0 to 100, with 95 % intervals.\n",
            markdown(framed(list(_scores(study, candidate)), []), notes=covered(study.scoreboard)),
            "### Compared with\n",
            _others(study, candidate),
        ]
    )


def _licences(titles: Iterable[str], llm: str) -> Iterator[str]:
    """A line a part: what it was trained for, its licence and source, where these are known: a
    step's spec does not hold them, the catalog does."""
    for title in titles:
        known: tuple[str, ...] = ()
        with suppress(UserError):
            spec = encoders.resolve(title)
            known = (spec.task, spec.licence, spec.source)
        yield _part(title, known)
    known = ()
    with suppress(UserError):
        language = llms.resolve(llm)
        known = (language.licence, language.source)
    yield _part(llm, known)


def _part(name: str, known: Iterable[str]) -> str:
    words = "; ".join(_text(word) for word in known if word) or "not known here"
    return f"- `{_text(name)}`: {words}"


def _steps(candidate: CandidateResult, trained: StepResult) -> Iterator[str]:
    """The steps of the seed that is exported, and what scores it, a line each with its key."""
    for step in candidate.steps:
        if step.spec.get("seed", trained.spec["seed"]) == trained.spec["seed"]:
            yield f"- {step.name} {_text(step.slug)}: `{step.key}`"


def _data(candidate: CandidateResult) -> Iterator[str]:
    """A line a source, with the fingerprint of its content."""
    users: dict[str, list[str]] = {}
    for step in candidate.steps:
        if source := step.spec.get("data"):
            words = {name: value for name, value in source.items() if value is not None}
            content = sha256_json(words.pop("fingerprint"))
            described = ", ".join(f"{name} {_text(value)}" for name, value in words.items())
            users.setdefault(f"{described}; content `{content[:12]}`", []).append(step.name)
    for line, names in users.items():
        yield f"- {', '.join(dict.fromkeys(names))}: {line}"


def _scores(study: StudyResult, candidate: CandidateResult) -> Iterator[dict[str, Any]]:
    board = study.scoreboard
    for task in board.tasks:
        asked = sum(name == task for name, _ in board.questions)
        interval = board.score(candidate, (task,))
        yield {
            "benchmark": study.tasks.get(task, task),
            "questions": asked,
            **estimate("score", interval),
        }
    mean = estimate("score", board.score(candidate))
    yield {"benchmark": "mean", "questions": len(board.questions), **mean}


def _others(study: StudyResult, candidate: CandidateResult) -> str:
    board = study.scoreboard
    others = [other for other in board.candidates if other is not candidate]
    if not others:
        return "No other candidate of the study is scored."
    rows = [
        {"candidate": other.name, "score": other.composite, **estimate("delta", difference)}
        for other, difference in zip(
            others, board.differences([(candidate, other) for other in others]), strict=True
        )
    ]
    note = "Differences are this candidate minus the other, in points of the mean."
    return f"{note}\n\n{markdown(framed(rows, []))}"


def _text(value: object) -> str:
    """What others named as a line of Markdown that gives no orders."""
    line = one_line(value)
    for mark in "\\`*[]<>|":
        line = line.replace(mark, f"\\{mark}")
    return line
