"""The tokenizer of `llama-micro` and the text scenes agree with its chat template."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.bake.text_scenes import TextScenes, embed
from ablate.bake.tokenizer import build_tokenizer
from ablate.data.world.questions import CAPTION_PROMPT, FAMILIES, ask, caption, dialogue
from ablate.data.world.scenes import KINDS, sample_scene

TOKENIZER = build_tokenizer()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_every_word_of_the_world_is_known_and_comes_back(seed: int, kind: str) -> None:
    rng = Random(seed)
    scene = sample_scene(kind, rng)
    texts = [CAPTION_PROMPT, caption(scene)]
    for turn in dialogue(scene, rng, 6):
        texts += [turn.question, turn.answer]
    for text in texts:
        ids = TOKENIZER(text)["input_ids"]
        assert TOKENIZER.unk_token_id not in ids
        assert TOKENIZER.decode(ids) == text


def test_an_answer_of_several_characters_is_one_word() -> None:
    ids = TOKENIZER("what is 42")["input_ids"]
    assert TOKENIZER.convert_ids_to_tokens(ids) == ["▁what", "▁is", "▁4", "2"]
    assert TOKENIZER.decode(TOKENIZER("KAX")["input_ids"]) == "KAX"


def test_generation_prompt_begins_the_assistants_turn() -> None:
    asked = [{"role": "user", "content": "<image>\nhow many things"}]
    told = [*asked, {"role": "assistant", "content": "four"}]
    prompt = TOKENIZER.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert TOKENIZER.apply_chat_template(told, tokenize=False) == f"{prompt}four<eot>"


@pytest.mark.parametrize("blocks", [1, 3])
def test_text_scene_is_laid_out_as_the_chat_template_does_it(blocks: int) -> None:
    rng = Random(1)
    scene = sample_scene("objects", rng)
    turns = dialogue(scene, rng, 6)
    batch = TextScenes(TOKENIZER).batch([scene], [turns], rng, blocks=blocks)
    messages = []
    for turn in turns:
        messages += [
            {"role": "user", "content": turn.question},
            {"role": "assistant", "content": turn.answer},
        ]
    messages[0]["content"] = "<image>\n" + messages[0]["content"]
    rendered = TOKENIZER.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, learnt = rendered["input_ids"], rendered["assistant_masks"]
    at, count = ids.index(TOKENIZER.convert_tokens_to_ids("<image>")), 16 * blocks
    row, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
    assert row[:at] + row[at + count :] == ids[:at] + ids[at + 1 :]
    wanted = [token if mark else -100 for token, mark in zip(ids, learnt, strict=True)]
    assert labels[:at] + labels[at + count :] == wanted[:at] + wanted[at + 1 :]


def test_blocks_know_a_part_each_and_everything_together() -> None:
    rng = Random(2)
    scene = sample_scene("objects", rng)
    scenes = TextScenes(TOKENIZER)
    (joined,) = [scenes.positions(scene, rng, 1, 0.0)]
    split = scenes.positions(scene, rng, 3, 0.0)
    assert len(joined) == 16
    assert len(split) == 48
    for cell, words in enumerate(joined):
        assert set(words) == {word for block in range(3) for word in split[cell + 16 * block]}
    assert sum(map(len, split)) < 3 * sum(map(len, joined))


def test_embedding_of_a_visual_position_is_the_sum_of_its_words() -> None:
    rng = Random(3)
    scene = sample_scene("chart", rng)
    scenes = TextScenes(TOKENIZER)
    batch = scenes.batch([scene], [ask(scene, "abl_chartqa", rng)], rng)
    table = torch.randn(len(TOKENIZER), 8)
    inputs = embed(batch, table, torch.Generator())
    for position, words in enumerate(scenes.positions(scene, rng, 1, 0.0)):
        torch.testing.assert_close(inputs[0, 2 + position], table[words].sum(0))
    assert inputs.shape[:2] == batch.input_ids.shape


def test_every_family_has_a_kind_of_scene() -> None:
    assert set(FAMILIES.values()) == set(KINDS)
    assert len(FAMILIES) == 8
