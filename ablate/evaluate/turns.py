"""A question's turn as text, and the text of its answer."""

from collections.abc import Sequence

from ablate.data.conversations import IMAGE
from ablate.errors import UserError


def with_images(text: str, count: int) -> str:
    """The question below its images, as LLaVA's conversations have them."""
    text = text if IMAGE in text else f"{IMAGE}\n" * count + text
    if text.count(IMAGE) != count:
        raise UserError(f"a question names {text.count(IMAGE)} images but shows {count}: {text!r}")
    return text


def without_images(words: str) -> str:
    """A user's words, who means no image by `<image>`."""
    return words.replace(IMAGE, "image")


def cut(text: str, stops: Sequence[str]) -> str:
    """The answer before the first of the stop texts, bare of white space around it."""
    text = text.strip()
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()
