import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Lfm2Config, Lfm2ForCausalLM, MistralConfig

from ablate.catalog.model_spec import ModelSpec
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from ablate.errors import UserError
from ablate.model import reading
from ablate.model.mllm import Beginnings, Mllm, build_model
from ablate.model.reading import Reading
from ablate.train.objectives.sft import Sft

Make = Callable[..., Mllm]
IMAGE = IMAGE_TOKEN_ID
STOP = 1


def batch_of(rows: list[list[int]], *, left: bool = False, learn_from: int = 0) -> Batch:
    """Rows of token ids, with an image at every IMAGE, labels from position `learn_from` on."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), 7)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[i, where], mask[i, where] = torch.tensor(row), True
    learn = mask & (ids != IMAGE) & (torch.arange(longest) >= learn_from)
    owners = [i for i, row in enumerate(rows) for token in row if token == IMAGE]
    pixels = torch.randint(0, 256, (len(owners), 3, 64, 64), generator=torch.manual_seed(0))
    return Batch(
        pixels=pixels.to(torch.uint8) if owners else torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
        image_rows=torch.tensor(owners, dtype=torch.long),
        input_ids=ids,
        labels=torch.where(learn, ids, IGNORE_INDEX),
        attention_mask=mask,
    )


def spliced(model: Mllm, row: list[int], pixels: Tensor) -> Tensor:
    """(1,S,D) what the LLM reads for one row, put together by hand."""
    visual = iter(model.projector(model.mixture(pixels))) if IMAGE in row else iter([])
    embed = model.llm.get_input_embeddings()
    pieces = [next(visual) if t == IMAGE else embed(torch.tensor([t])) for t in row]
    return torch.cat(pieces)[None]


def loss_of(model: Mllm, batch: Batch) -> Tensor:
    return Sft()(*model(batch))


ROWS = [[3, IMAGE, 5, 6, 9], [4, 8], [IMAGE, 3, IMAGE, 11, 12, 13, 14]]


def test_the_loss_is_the_mean_over_all_supervised_tokens(make_model: Make) -> None:
    model = make_model()
    batch = batch_of(ROWS, learn_from=1)
    losses = []
    for i, row in enumerate(ROWS):
        hidden = spliced(model, row, batch.pixels[batch.image_rows == i])
        targets = [
            label
            for token, label in zip(row, batch.labels[i].tolist(), strict=False)
            for label in ([IGNORE_INDEX] * 4 if token == IMAGE else [label])
        ]
        logits = model.llm(inputs_embeds=hidden).logits[0, :-1]
        targets = torch.tensor(targets[1:])
        losses.append(F.cross_entropy(logits, targets, reduction="none")[targets != IGNORE_INDEX])
    logits, targets = model(batch)
    torch.testing.assert_close(Sft()(logits, targets), torch.cat(losses).mean())
    assert (targets != IGNORE_INDEX).sum() == len(torch.cat(losses))


def test_the_side_of_the_padding_changes_nothing(make_model: Make) -> None:
    model = make_model()
    loss = loss_of(model, batch_of(ROWS))
    torch.testing.assert_close(loss_of(model, batch_of(ROWS, left=True)), loss)


def test_a_batch_without_images_is_text_alone(make_model: Make) -> None:
    model = make_model()
    batch = batch_of([[3, 4, 5], [6, 7, 8]])
    expected = model.llm(input_ids=batch.input_ids, labels=batch.labels).loss
    torch.testing.assert_close(loss_of(model, batch), expected)


def test_nothing_to_learn_from_is_a_loss_of_zero(make_model: Make) -> None:
    batch = batch_of(ROWS, learn_from=99)
    assert loss_of(make_model(), batch) == 0


@pytest.mark.parametrize("room", [0, 3, reading.ROOM])
@pytest.mark.parametrize("stop_ids", [[STOP], []])
def test_cached_batched_answers_equal_the_argmax_without_cache(
    make_model: Make, stop_ids: list[int], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROOM", room)
    model = make_model()
    batch = batch_of(ROWS, left=True)
    answers = model.generate(batch, 12, stop_ids)
    for i, row in enumerate(ROWS):
        hidden = spliced(model, row, batch.pixels[batch.image_rows == i])
        expected: list[int] = []
        for _ in range(12):
            token = int(model.llm(inputs_embeds=hidden, use_cache=False).logits[0, -1].argmax())
            if token in stop_ids:
                break
            expected.append(token)
            embedded = model.llm.get_input_embeddings()(torch.tensor([[token]]))
            hidden = torch.cat([hidden, embedded], dim=1)
        assert answers[i] == expected


def test_an_answer_ends_before_the_first_stop_token(make_model: Make) -> None:
    model = make_model()
    batch = batch_of(ROWS, left=True)
    free = model.generate(batch, 8, [])
    stop = free[0][3]
    cut = [answer[: answer.index(stop)] if stop in answer else answer for answer in free]
    assert model.generate(batch, 8, [stop]) == cut


def test_answers_are_the_same_where_what_prompts_begin_with_is_read_once(make_model: Make) -> None:
    model = make_model()
    beginnings, rests = [[3, IMAGE, 5], [IMAGE, 4, IMAGE], [8]], [[6, 9], [4], [11, 12, 13], [7, 5]]
    rows, most = [0, 2, 1, 0], [9, 3, 6, 0]
    begun = batch_of(beginnings, left=True)
    halves = model.generate(batch_of(rests), most, [], after=Beginnings(begun, None, rows))
    for row, more, tokens, answer in zip(rows, rests, most, halves, strict=True):
        whole = batch_of([beginnings[row] + more])
        pixels = begun.pixels[begun.image_rows == row]
        assert model.generate(replace(whole, pixels=pixels), tokens, []) == [answer]
    assert [len(answer) for answer in halves] == most


def test_prompts_go_on_also_where_blocks_keep_a_state_and_no_keys() -> None:
    """LFM2 has convolutions beside attention."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config = Lfm2Config(
        **shape, vocab_size=64, num_hidden_layers=3, num_key_value_heads=2, full_attn_idxs=[1]
    )
    llm = Lfm2ForCausalLM(config).eval()
    prompts, mask = torch.randn(3, 6, 32), torch.ones(3, 6, dtype=torch.bool)
    chosen, expected = Reading(llm), Reading(llm)
    with torch.no_grad():
        chosen.read(prompts, mask)
        chosen.keep({0, 2})
        expected.read(prompts[[0, 2]], mask[:2])
        left, none, right = chosen.answers([5, 0, 5], [])
        assert [left, right] == expected.answers([5, 5], [])
        assert not none


def test_a_sliding_window_would_count_the_padding_between_two_texts(make_model: Make) -> None:
    window = MistralConfig(hidden_size=32, num_hidden_layers=1, sliding_window=8)
    assert not Reading.can_branch(SimpleNamespace(config=window))  # type: ignore[arg-type]
    assert make_model().reads_beginnings_once


def test_tokens_beyond_the_context_are_an_error_that_names_the_mixture(make_model: Make) -> None:
    model = make_model()
    with pytest.raises(UserError, match=r"13[0-9] tokens exceed .*tiny \(128\).*clip-micro@32"):
        model(batch_of([[5] * 130]))
    with pytest.raises(UserError, match="exceed the context"):
        model.generate(batch_of([[5] * 100]), 40, [STOP])
    with pytest.raises(UserError, match=r"256 tokens exceed .*channel_concat of clip-micro@32"):
        make_model(grid=16)


def test_images_that_do_not_match_their_rows_are_refused(make_model: Make) -> None:
    batch = batch_of(ROWS)
    with pytest.raises(ValueError, match="do not match"):
        make_model()(replace(batch, image_rows=torch.tensor([0, 1, 2])))


MIXTURE = ("clip-micro@32", "pix2struct-micro@128", "convnext-micro@128")


@pytest.mark.parametrize(
    "fusion", ["channel_concat", "sequence_append", "llava_hr", "mini_gemini", "deformable"]
)
def test_every_fusion_trains_end_to_end_also_checkpointed(make_model: Make, fusion: str) -> None:
    model = make_model(*MIXTURE, fusion=fusion, grid=4, norm="layer").train()
    batch = batch_of([[IMAGE, 3, 4, 5]])
    loss_of(model, batch).backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for part, module in model.parts.items():
        assert any(p.grad is not None for p in module.parameters()) or not list(
            module.parameters()
        ), part
    model.zero_grad()
    model.checkpoint_activations()
    loss_of(model, batch).backward()
    for name, parameter in model.named_parameters():
        if name in plain:
            torch.testing.assert_close(parameter.grad, plain[name])


def test_mini_gemini_looks_into_64_keys_of_the_stages_of_convnext(make_model: Make) -> None:
    titles = ("clip-micro@32", "convnext-micro-pyramid@128")
    model = make_model(*titles, fusion="mini_gemini", grid=4, norm="layer").train()
    assert model.mixture.fusion.window == (8, 8)
    loss_of(model, batch_of([[IMAGE, 3, 4, 5]])).backward()
    for part in ("fusion", "encoders"):
        assert all(p.grad is not None and p.grad.any() for p in model.parts[part].parameters())


def test_bfloat16_autocast_gives_nearly_the_same_loss(make_model: Make) -> None:
    model = make_model(*MIXTURE, grid=4, norm="layer")
    batch = batch_of(ROWS)
    exact = loss_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss_of(model, batch), exact, rtol=0.05, atol=0.05)


def test_layer_norm_makes_an_expert_independent_of_its_scale(make_model: Make) -> None:
    model = make_model(norm="layer")
    pixels = batch_of([[IMAGE]]).pixels
    before = model.mixture(pixels)[0]
    features = model.mixture.encoders[0].features
    model.mixture.encoders[0].features = lambda x: 7 * features(x)
    torch.testing.assert_close(model.mixture(pixels)[0], before, atol=1e-4, rtol=1e-4)
    del model.mixture.encoders[0].features


def test_the_seed_decides_fusion_and_projector(make_model: Make) -> None:
    first, same, other = (make_model(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], other[name])}
    assert "projector" in changed
    assert "mixture" not in changed


def test_building_a_model_leaves_the_random_state_alone(make_model: Make) -> None:
    torch.manual_seed(3)
    make_model()
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))


def test_a_model_spec_survives_json(make_model: Make) -> None:
    spec = make_model(*MIXTURE, fusion="sequence_append").spec
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_mixture_nobody_can_build_is_refused(make_model: Make) -> None:
    spec = make_model().spec
    with pytest.raises(UserError, match="twice"):
        replace(spec, encoders=spec.encoders * 2)
    with pytest.raises(UserError, match="at least one"):
        replace(spec, encoders=[])
    with pytest.raises(UserError, match="did you mean 'layer'"):
        replace(spec, feature_norm="layr")
    with pytest.raises(UserError, match="did you mean 'channel_concat'"):
        build_model(
            replace(spec, fusion={**spec.fusion, "name": "channel_cat"}), seed=0, load_weights=False
        )


def test_loading_names_what_is_wrong_with_a_language_model(
    make_model: Make, llm_folder: Path, tmp_path: Path
) -> None:
    spec = make_model().spec
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in llm_folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    llm = replace(spec.llm, ref=str(broken), sha256=None)
    encoders = [replace(e, weights=replace(e.weights, kind="none")) for e in spec.encoders]
    with pytest.raises(UserError, match=r"llm 'tiny': cannot read .*broken"):
        build_model(replace(spec, llm=llm, encoders=encoders), seed=0)
    with pytest.raises(UserError, match="nothing at"):
        build_model(
            replace(spec, llm=replace(llm, ref=str(tmp_path / "none"))), seed=0, load_weights=False
        )
