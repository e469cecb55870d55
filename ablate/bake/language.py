"""`llama-micro`: a four-layer Llama pre-trained to look words up in text scenes.

It never sees an image. What it must bring to a candidate is the habit of looking at the visual
positions, whatever their number and order, so it is trained on many layouts of the same scenes.
"""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from ablate.bake.text_scenes import TextBatch, TextScenes, embed
from ablate.bake.tokenizer import build_tokenizer
from ablate.data.world.questions import FAMILIES, ask, dialogue
from ablate.data.world.scenes import KINDS, Scene, sample_scene

BATCH = 32
NOISE, OFFSET = 0.2, 2.0
SECOND_FROM = 0.25  # of the curriculum, where the second cycle enters it
# Share of each of KINDS, early and late: charts and forms teach looking up at its plainest, one key
# to one value; objects then only have to choose which value.
EARLY, LATE = (0.2, 0.4, 0.3, 0.1), (0.55, 0.15, 0.2, 0.1)


def build_language(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """The untrained model, made to look things up soon.

    With the usual init of 0.02 so narrow a Llama never does. Queries start equal to keys, so that a
    position first attends to those that hold the same words.
    """
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.08,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    return model


def train_language(
    seed: int, steps: int, log: Callable[[int, dict[str, float]], None]
) -> LlamaForCausalLM:
    """Pre-train for `steps` batches of 32 scenes, in two cycles of the learning rate.

    Easy scenes and one block a scene come first. Comparing what was found with what was asked
    (POPE) forms late: it takes the second cycle, half as long as the first and from its weights as
    they would be shipped.
    """
    scenes = TextScenes(build_tokenizer())
    model = build_language(len(scenes.tokenizer), seed)
    first = steps * 2 // 3
    train_cycle(model, scenes, seed, first, 0.0, log)
    model.half().float()
    train_cycle(model, scenes, seed + 1, steps - first, SECOND_FROM, log, done=first)
    return model.eval()


def train_cycle(
    model: LlamaForCausalLM,
    scenes: TextScenes,
    seed: int,
    steps: int,
    share: float,
    log: Callable[[int, dict[str, float]], None],
    done: int = 0,
) -> None:
    """One cycle of `steps` after `done` others; it enters the curriculum at `share`."""
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    for step in range(steps):
        easy, varied = _curriculum(share + (1 - share) * step / steps)
        batch = _draw(scenes, rng, easy, varied)
        loss = _loss(model, batch, generator, OFFSET * varied)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        log(done + step + 1, {"loss": loss.item()})


def probe_language(model: LlamaForCausalLM, blocks: int, count: int = 320) -> dict[str, float]:
    """Share of exact answers a family on perfect text, laid out in `blocks` blocks."""
    scenes, rng = TextScenes(build_tokenizer()), Random(f"held out {blocks}")
    generator, right = torch.Generator().manual_seed(0), {}
    for family, kind in FAMILIES.items():
        drawn = [sample_scene(kind, rng) for _ in range(count)]
        turns = [ask(scene, family, rng) for scene in drawn]
        batch = scenes.batch(drawn, turns, rng, blocks=blocks)
        with torch.no_grad():
            inputs = embed(batch, model.get_input_embeddings().weight, generator)
            logits = _logits(model, batch, inputs)
        asked = batch.labels[:, 1:] != -100
        hit = (logits[:, :-1].argmax(-1) == batch.labels[:, 1:]) | ~asked
        right[family] = hit.all(1).float().mean().item()
    return right


def _curriculum(done: float) -> tuple[float, float]:
    """(share of easy scenes, how varied layouts are) at the share `done` of the schedule."""
    return max(0.0, 0.9 * (1 - done / 0.3)), min(1.0, max(0.0, (done - 0.25) / 0.15))


def _draw(scenes: TextScenes, rng: Random, easy: float, varied: float) -> TextBatch:
    blocks = rng.choice((2, 3, 4)) if rng.random() < 0.5 * varied else 1
    drawn: list[Scene] = []
    turns = []
    for _ in range(BATCH):
        hard = rng.random() >= easy
        kind = rng.choices(KINDS, LATE if hard else EARLY)[0]
        drawn.append(sample_scene(kind, rng, 16 if hard else rng.randint(2, 3)))
        turns.append([] if rng.random() < 0.12 + 0.5 * easy else dialogue(drawn[-1], rng, 6))
    # Mostly only their order tells places: a projector must not have to learn places first.
    placeless = 0.8 if blocks == 1 else 0.4
    layout = {"shuffle": 0.05, "gaps": 0.1, "placeless": placeless}
    return scenes.batch(
        drawn, turns, rng, blocks=blocks, **{name: varied * x for name, x in layout.items()}
    )


def _logits(model: LlamaForCausalLM, batch: TextBatch, inputs: Tensor) -> Tensor:
    logits: Tensor = model(inputs_embeds=inputs, attention_mask=batch.attention_mask).logits
    return logits


def _loss(
    model: LlamaForCausalLM, batch: TextBatch, generator: torch.Generator, offset: float
) -> Tensor:
    table = model.get_input_embeddings().weight
    inputs = embed(batch, table, generator, noise=NOISE, offset=offset)
    logits = _logits(model, batch, inputs)[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten())
