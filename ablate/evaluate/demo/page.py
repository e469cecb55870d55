"""The page of `ablate demo`, which Streamlit runs from its top at each move in it.

What it is about stands behind its name as JSON, as `ablate.commands.demo` puts it. Only this file
imports Streamlit. What a model or a data set says is shown as text, never as Markdown. What answers
is imported behind the heading, for that takes seconds.
"""

import json
import random
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from ablate.errors import UserError
from ablate.files import home
from ablate.store.answers import Rows, rows_in
from ablate.store.votes import Reply, Tally, Vote, keep_vote, tallies

if TYPE_CHECKING:
    from ablate.evaluate.demo.contender import Contender

MOST = 1000
"""Questions of a benchmark that can be chosen: of more every k-th."""
LEFT, RIGHT = "Left", "Right"


class Asked(NamedTuple):
    """A question that was asked, and both replies as they stand on the page."""

    question: str
    image: Path | bytes
    replies: tuple[Reply, Reply]
    blind: bool
    truth: str | None


def page(names: Sequence[str], folders: Sequence[str], answers: str, images: str | None) -> None:
    """Draw the page of two candidates by the folders of their training.

    `answers`: an evaluation, with the folder of its `images`, whose questions can be asked.
    """
    st.set_page_config(page_title="ablate demo", layout="wide")
    st.title("Side by side")
    st.caption(plain(f"{names[0]} and {names[1]} are asked the same about a picture."))
    contenders = [_contender(*named) for named in zip(names, folders, strict=True)]
    with st.container(border=True):
        image, question, truth = _picture(answers, images)
        masked = _switches(contenders)
        blind = st.toggle("Blind: names are hidden and sides shuffled until you vote", value=True)
        if st.button("Ask", type="primary", disabled=not (image and question.strip())):
            st.session_state.asking = True  # until it is: a move meanwhile runs all this anew
        if "asking" in st.session_state and image and question.strip():
            _ask(contenders, masked, question.strip(), image, blind, truth)
    if "asked" in st.session_state:
        _show(st.session_state.asked)
    _tally()


@st.cache_resource(show_spinner="Reading the weights")
def _contender(name: str, folder: str) -> "Contender":
    from ablate.evaluate.demo.contender import Contender

    return Contender.load(name, Path(folder))


@st.cache_resource
def _at_work() -> threading.Lock:
    """Held while a model answers, which holds what it sees in itself."""
    return threading.Lock()


@st.cache_resource
def _questions(answers: str) -> Mapping[str, Rows]:
    """The questions of an evaluation, by benchmark."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows_in(answers):
        by_task.setdefault(row["task"], []).append(row)
    return {task: rows[:: -(-len(rows) // MOST)] for task, rows in by_task.items()}


def _picture(answers: str, images: str | None) -> tuple[Path | bytes | None, str, str | None]:
    """The picture that is chosen, the words, and what would be right where that is known."""
    left, right = st.columns(2)
    with left:
        origins = ["Of the evaluation set", "A picture of yours"]
        origin = st.radio("Picture", origins if images else origins[1:], horizontal=True)
        row = _row(answers) if origin == origins[0] else None
        if row is None:
            upload = st.file_uploader("A picture file")
            image: Path | bytes | None = upload.getvalue() if upload else None
        else:
            image = Path(str(images)) / row["image"]
        known = f"{row['task']}/{row['id']}" if row else ""
        question = st.text_area(
            "Question", row["question"] if row else "", key=f"question {known}", height=80
        )
    with right:
        if image:
            _shown(image)
    truth = str(row["truth"]) if row and row["question"] == question else None
    return image, question, truth


def _row(answers: str) -> Mapping[str, Any]:
    questions = _questions(answers)
    task = str(st.selectbox("Benchmark", list(questions)))
    rows = {f"{row['id']}: {row['question']}": row for row in questions[task]}
    return rows[str(st.selectbox("Question of it", list(rows)))]


def _shown(image: Path | bytes) -> None:
    try:
        st.image(image if isinstance(image, bytes) else str(image), width=256)
    except Exception:  # no image: the models say what it is instead
        st.caption("This file cannot be shown as a picture.")


def _switches(contenders: Sequence["Contender"]) -> list[list[str]]:
    """The experts of each that are switched off."""
    masked: list[list[str]] = []
    for number, (column, contender) in enumerate(zip(st.columns(2), contenders, strict=True)):
        with column:
            st.markdown(f"**{plain(contender.name)}**")
            if contender.fixed:
                st.caption(plain(f"{', '.join(contender.experts)}: {contender.fixed}"))
            switches = [] if contender.fixed else contender.experts
            masked.append(
                [
                    title
                    for title in switches
                    if not st.checkbox(plain(title), value=True, key=f"{number} {title}")
                ]
            )
    return masked


def _ask(
    contenders: Sequence["Contender"],
    masked: Sequence[Sequence[str]],
    question: str,
    image: Path | bytes,
    blind: bool,
    truth: str | None,
) -> None:
    st.session_state.pop("asked", None)
    st.session_state.pop("voted", None)
    try:
        with _at_work(), st.spinner("Asking"):
            first, second = (
                contender.reply(question, image, off)
                for contender, off in zip(contenders, masked, strict=True)
            )
    except Exception as error:  # what ends a run for the next is none
        del st.session_state.asking
        if not isinstance(error, UserError):
            raise
        st.error(plain(str(error)))
        return
    swap = blind and random.SystemRandom().random() < 0.5
    replies = (second, first) if swap else (first, second)
    st.session_state.asked = Asked(question, image, replies, blind, truth)
    del st.session_state.asking


def _show(asked: Asked) -> None:
    """Both replies; the names where they may be read, and what to vote where there is no vote."""
    hidden = asked.blind and "voted" not in st.session_state
    st.subheader("Answers")
    st.text(asked.question)
    for column, side, reply in zip(st.columns(2), (LEFT, RIGHT), asked.replies, strict=True):
        with column, st.container(border=True):
            st.markdown(f"**{side}**" if hidden else f"**{side}: {plain(reply.of)}**")
            st.text(reply.answer or "(nothing)")
    if "voted" in st.session_state:
        st.caption(f"Your vote: {st.session_state.voted}")
    else:
        choices = {"Left is better": 0, "As good": None, "Right is better": 1}
        for column, words in zip(st.columns(3), choices, strict=True):
            with column:
                vote = asked, words, choices[words]
                st.button(words, width="stretch", on_click=_vote, args=vote)
    if asked.truth is not None and not hidden:
        st.text(f"Right would be: {asked.truth}")


def _vote(asked: Asked, words: str, better: int | None) -> None:
    """One vote on what was asked last; not by a button that still stands on a slow page."""
    if st.session_state.get("asked") is not asked or "voted" in st.session_state:
        return
    try:
        keep_vote(home(), Vote.on(asked.question, asked.image, asked.replies, better, asked.blind))
    except UserError as error:
        st.error(plain(str(error)))
    else:
        st.session_state.voted = words.lower()


def _tally() -> None:
    """All votes of this home."""
    if rows := tallies(home()):
        st.subheader("Votes so far")
        st.markdown("\n".join(map(_counts, rows)))


def _counts(row: Tally) -> str:
    first, second = plain(row.first), plain(row.second)
    return (
        f"- **{row.first_better}** {first}, **{row.second_better}** {second}, "
        f"**{row.as_good}** as good; {row.blind} of them blind"
    )


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


if __name__ == "__main__":
    page(**json.loads(sys.argv[1]))
