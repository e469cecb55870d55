"""Which tokens are learnt from, for chat templates and tokenizers of different makes."""

from functools import cache

import numpy as np
import pytest
from data_toys import (
    CHATML,
    GEMMA,
    LLAMA3,
    LLAMA3_MARKED,
    MISTRAL,
    byte_level,
    sentencepiece,
    split_numbers,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog.llms import VICUNA
from ablate.data.batch import IMAGE_TOKEN_ID
from ablate.data.chat import Chat, Messages
from ablate.errors import UserError

CASES = {
    "llama3": (byte_level, LLAMA3, "<|eot_id|>"),
    "llama3-marked": (byte_level, LLAMA3_MARKED, "<|eot_id|>"),
    "vicuna-bytes": (byte_level, VICUNA, "</s>"),
    "vicuna": (sentencepiece, VICUNA, "</s>"),
    "chatml": (byte_level, CHATML, "<|im_end|>"),
    "gemma": (split_numbers, GEMMA, "<end_of_turn>"),
    "mistral": (sentencepiece, MISTRAL, "</s>"),
    "llama3-numbers": (split_numbers, LLAMA3, "<|eot_id|>"),
}


@cache
def chat(name: str) -> Chat:
    make, template, _ = CASES[name]
    return Chat(make(template))


def talk(*said: str) -> Messages:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]


def learnt(name: str, messages: Messages) -> str:
    """The learnt tokens of a conversation as text."""
    make, template, _ = CASES[name]
    [tokens] = chat(name).encode([messages])
    ids = tokens.ids[tokens.learn].tolist()
    text: str = make(template).decode(ids, clean_up_tokenization_spaces=False)
    return text


letters = st.characters(codec="utf-8", categories=["L", "N", "P"], max_codepoint=0x4FF)
known = st.sampled_from(
    ["a", "red", "circle", "yes", "no", "how", "many", "what"]
)  # one token with a blank
words = st.text(letters, min_size=1, max_size=8) | known
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(said=st.lists(texts, min_size=2, max_size=6).filter(lambda said: len(said) % 2 == 0))
def test_exactly_what_the_assistant_says_and_its_end_are_learnt(name: str, said: list[str]) -> None:
    end = CASES[name][2]
    spoken = "".join(f"{text}{end}" for text in said[1::2])
    got = learnt(name, talk(*said)).replace(f"{end} ", end)
    assert got.replace(" ", "") == spoken.replace(" ", "")


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None)
@given(said=st.lists(texts, min_size=4, max_size=4))
def test_the_prompt_of_generation_is_the_beginning_of_what_was_trained(
    name: str, said: list[str]
) -> None:
    [whole] = chat(name).encode([talk(*said)])
    [prompt] = chat(name).prompts([talk(*said[:3])])
    assert whole.ids[: len(prompt)].tolist() == prompt.tolist()
    assert whole.learn[len(prompt)]
    assert whole.learn[len(prompt) :].all() or name in ("chatml", "gemma")  # whose turns end so


@settings(max_examples=150, deadline=None)
@given(
    make=st.sampled_from([byte_level, split_numbers, sentencepiece]),
    head=st.sampled_from(["ASSISTANT:", "<|im_start|>assistant", "### Answer", "[/INST]"]),
    blank=st.sampled_from(["", " ", "  ", "\n", "\n\n", " \n", "\t", "\n "]),
    end=st.sampled_from(["</s>", "<|eot_id|>", "<|im_end|>\n"]),
    marked=st.booleans(),
    said=st.lists(texts, min_size=4, max_size=4),
)
def test_a_blank_before_an_answer_loses_none_of_it_and_prompts_are_what_was_trained(
    make, head: str, blank: str, end: str, marked: bool, said: list[str]
) -> None:
    start, stop = ("{% generation %}", "{% endgeneration %}") if marked else ("", "")
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }}\n{% else %}"
        f"{{{{ head }}}}{start}{{{{ m.content }}}}{end.strip()}{stop}{{{{ tail }}}}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ head }}{% endif %}"
    )
    named = f"{{% set head = {head + blank!r} %}}{{% set tail = {end[len(end.strip()) :]!r} %}}"
    chat = Chat(make(named + template))
    [whole] = chat.encode([talk(*said)])
    [prompt] = chat.prompts([talk(*said[:3])])
    assert whole.ids[: len(prompt)].tolist() == prompt.tolist()
    after = whole.learn[len(prompt) :].tolist()
    ends = after.index(False) if False in after else len(after)
    assert ends > 1
    assert not any(after[ends:])
    text = make(None).decode(whole.ids[whole.learn].tolist(), clean_up_tokenization_spaces=False)
    spoken = "".join(f"{answer}{end}" for answer in said[1::2])
    assert "".join(text.split()) == "".join(spoken.split())


def test_a_system_turn_is_never_learnt_as_an_answer() -> None:
    """Also not by a template that takes whoever is not the user for the assistant."""
    chat = Chat(build_tokenizer())
    system = [{"role": "system", "content": "what level"}]
    [led], [plain] = chat.encode([system + talk("what", "42")]), chat.encode([talk("what", "42")])
    assert led.ids[led.learn].tolist() == plain.ids[plain.learn].tolist()
    assert not led.learn[: len(led.ids) - len(plain.ids)].any()


def test_marked_and_unmarked_templates_of_one_format_agree() -> None:
    messages = talk("hi", "yes", "how many?", "no \u00e9 <3")
    [marked], [plain] = chat("llama3-marked").encode([messages]), chat("llama3").encode([messages])
    np.testing.assert_array_equal(marked.ids, plain.ids)
    np.testing.assert_array_equal(marked.learn, plain.learn)


def test_a_system_turn_is_read_but_not_learnt() -> None:
    messages = [{"role": "system", "content": "be brief"}, *talk("what?", "yes")]
    assert learnt("vicuna", messages) == "yes</s>"


@pytest.mark.parametrize("name", CASES)
def test_each_image_is_one_token_and_text_around_it_stays(name: str) -> None:
    [tokens] = chat(name).encode([talk("<image>\n<image> what?", "yes", "sure?", "no")])
    assert (tokens.ids == IMAGE_TOKEN_ID).sum() == 2
    assert (tokens.ids[tokens.ids != IMAGE_TOKEN_ID] >= 0).all()


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
def test_the_plain_prompt_is_an_image_and_what_is_said_of_it_whatever_the_template(make) -> None:
    tokenizer = make(LLAMA3)
    said = Chat(tokenizer, plain=True).encode([talk("what?\n<image>", "a cat")])[0]
    bos, image, *caption = said.ids.tolist()
    assert (bos, image) == (tokenizer.bos_token_id, IMAGE_TOKEN_ID)
    assert tokenizer.decode(caption) == "a cat\n"
    assert said.learn.tolist() == [False, False] + [True] * len(caption)
    assert tokenizer.chat_template == LLAMA3


def test_the_micro_tokenizer_learns_answers_and_their_end_only() -> None:
    tokenizer = build_tokenizer()
    [tokens] = Chat(tokenizer).encode([talk("<image>\nwhat number is on the red circle", "42")])
    assert tokenizer.convert_ids_to_tokens(tokens.ids[tokens.learn].tolist()) == [
        "▁4",
        "2",
        "<eot>",
    ]
    assert tokens.ids.tolist().count(IMAGE_TOKEN_ID) == 1


def test_the_callers_tokenizer_stays_as_it_was() -> None:
    tokenizer = byte_level(LLAMA3)
    before = len(tokenizer)
    Chat(tokenizer).encode([talk("<image>", "yes")])
    assert len(tokenizer) == before


def test_the_fingerprint_follows_vocabulary_and_template() -> None:
    prints = {chat(name).fingerprint for name in CASES}
    assert len(prints) == len(CASES)
    assert Chat(byte_level(LLAMA3)).fingerprint == chat("llama3").fingerprint


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(UserError, match="no chat template"):
        Chat(byte_level(None))


def test_a_template_that_rewrites_earlier_turns_is_refused_with_the_remedy() -> None:
    forgetful = "{% for m in messages %}{% if not loop.last or m.role == 'user' %}{{ m.role }}"
    forgetful += "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(UserError, match="generation"):
        Chat(byte_level(forgetful)).encode([talk("a", "b", "c", "d")])
