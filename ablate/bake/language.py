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
    """Pre-train for `steps` batches of 32 scenes, in three cycles of the learning rate.

    All families come first, easy scenes before full ones. To compare what was found with what was
    asked (POPE) forms late, so a drill of it follows, and then all families again. Each cycle
    leaves the weights as they would be shipped, in half precision.
    """
    scenes = TextScenes(build_tokenizer())
    model = build_language(len(scenes.tokenizer), seed)
    drill, again = round(0.16 * steps), round(0.24 * steps)
    first = steps - drill - again

    def everything(rng: Random, step: int) -> tuple[TextBatch, float]:
        return _everything(scenes, rng, step / first)

    def comparing(rng: Random, step: int) -> tuple[TextBatch, float]:
        return _comparing(scenes, rng, (step + 1) / drill)

    def repeating(rng: Random, step: int) -> tuple[TextBatch, float]:
        return _everything(scenes, rng, 0.25 + 0.75 * step / again)

    train_cycle(model, everything, first, seed, 2e-3, log)
    train_cycle(model, comparing, drill, seed + 5, 2e-3, log, done=first)
    train_cycle(model, repeating, again, seed + 6, 1.5e-3, log, done=first + drill)
    return model.eval()


def train_cycle(
    model: LlamaForCausalLM,
    lesson: Callable[[Random, int], tuple[TextBatch, float]],
    steps: int,
    seed: int,
    rate: float,
    log: Callable[[int, dict[str, float]], None],
    done: int = 0,
) -> None:
    """`steps` batches after `done` others. `lesson` draws the batch of a step and its offset."""
    if not steps:  # of a bake too short for every cycle
        return
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for step in range(steps):
        batch, offset = lesson(rng, step)
        loss = _loss(model, batch, generator, offset)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        log(done + step + 1, {"loss": loss.item()})
    model.half().float()


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


def _everything(scenes: TextScenes, rng: Random, done: float) -> tuple[TextBatch, float]:
    """All families and captions; easy scenes first, then ever more varied layouts."""
    easy, varied = max(0.0, 0.9 * (1 - done / 0.3)), min(1.0, max(0.0, (done - 0.25) / 0.15))
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
    batch = scenes.batch(
        drawn, turns, rng, blocks=blocks, **{name: varied * x for name, x in layout.items()}
    )
    return batch, OFFSET * varied


def _comparing(scenes: TextScenes, rng: Random, done: float) -> tuple[TextBatch, float]:
    """Mostly yes-or-no questions, in the plainest layout; easy scenes in the first third."""
    easy = 0.9 * (1 - 3 * done)
    lesson = {"abl_pope": 4, "abl_vqa": 1, "abl_gqa": 1}
    drawn: list[Scene] = []
    turns = []
    for _ in range(BATCH):
        most = rng.randint(2, 3) if rng.random() < easy else 16
        drawn.append(sample_scene("objects", rng, most))
        turns.append(
            [turn for family, n in lesson.items() for turn in ask(drawn[-1], family, rng, n)]
        )
    return scenes.batch(drawn, turns, rng), 0.0


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
