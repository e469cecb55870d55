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
from ablate.data.world.questions import FAMILIES, Question, ask, dialogue
from ablate.data.world.scenes import KINDS, NUMBERS, Scene, sample_scene

BATCH = 32
PROBE_EVERY = 500
NOISE, OFFSET = 0.2, 2.0
# Share of each of KINDS, early and late: charts and forms teach looking up at its plainest, one key
# to one value; objects then only have to choose which value.
EARLY, LATE = (0.2, 0.4, 0.3, 0.1), (0.5, 0.15, 0.25, 0.1)
COMPARING = {"abl_pope": 4, "abl_vqa": 1, "abl_gqa": 1}  # family -> questions
COUNTED = {
    "objects": ("abl_count", "how many things"),
    "chart": ("abl_chartqa", "how many bars"),
}  # kind -> family, question


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

    The first (6/19 of the steps) forms looking up and comparing in the plainest layout, easy scenes
    before full ones. The second (10/19) varies the layout, and the last practises counting in it.
    In one cycle comparing (POPE) hardly formed: it comes when the rate falls, and not among all
    layouts at once. Counting formed, too, but did not survive the second cycle.
    """
    scenes = TextScenes(build_tokenizer())
    model = build_language(len(scenes.tokenizer), seed)
    forming, varying = steps * 6 // 19, steps * 10 // 19

    def form(rng: Random, share: float) -> tuple[TextBatch, float]:
        return draw_lesson(scenes, rng, easy=0.9 * max(0.0, 1 - share / 0.4))

    def vary(rng: Random, share: float) -> tuple[TextBatch, float]:
        return draw_lesson(scenes, rng, varied=min(1.0, max(0.0, (share - 0.05) / 0.25)))

    def count(rng: Random, share: float) -> tuple[TextBatch, float]:
        return draw_lesson(scenes, rng, varied=1.0, counting=0.5)

    train_cycle(model, form, forming, seed, 2e-3, log)
    train_cycle(model, vary, varying, seed + 5, 2e-3, log, done=forming)
    # Half precision has rounded the rotary frequencies with the weights. The last cycle sees them
    # exact, as whoever loads the model does.
    exact = build_language(len(scenes.tokenizer), seed)
    exact.load_state_dict(model.state_dict())
    rest = steps - forming - varying
    train_cycle(exact, count, rest, seed + 10, 1e-3, log, done=forming + varying)
    return exact.eval()


def train_cycle(
    model: LlamaForCausalLM,
    lesson: Callable[[Random, float], tuple[TextBatch, float]],
    steps: int,
    seed: int,
    rate: float,
    log: Callable[[int, dict[str, float]], None],
    done: int = 0,
) -> None:
    """`steps` batches after the `done` ones of other cycles, one rise to `rate` and fall of it.

    `lesson` draws a batch, and the offset of its visual positions, for a share of the cycle. The
    weights are left as they are shipped, rounded to half precision. Now and then `log` is also
    given each family's share of exact answers, from one token a cell.
    """
    if not steps:  # of a bake too short for every cycle
        return
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for step in range(steps):
        batch, offset = lesson(rng, step / steps)
        loss = _loss(model, batch, generator, offset)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        metrics = {"loss": loss.item()}
        if (done + step + 1) % PROBE_EVERY == 0:
            metrics |= probe_language(model, blocks=1, count=160)
        log(done + step + 1, metrics)
    model.half().float()


def draw_lesson(
    scenes: TextScenes, rng: Random, *, easy: float = 0.0, varied: float = 0.0, counting: float = 0
) -> tuple[TextBatch, float]:
    """A batch of all families and captions, and the offset of its visual positions.

    `easy`: the share of scenes with two or three things; `varied`, from 0 to 1: how much layouts
    vary; `counting`: the share of dialogues with a question more, on how many things there are.
    """
    blocks = rng.choice((2, 3, 4)) if rng.random() < 0.6 * varied else 1
    drawn: list[Scene] = []
    turns = []
    for _ in range(BATCH):
        hard = rng.random() >= easy
        kind = rng.choices(KINDS, LATE if hard else EARLY)[0]
        drawn.append(sample_scene(kind, rng, 16 if hard else rng.randint(2, 3)))
        turns.append([] if rng.random() < 0.12 + 0.5 * easy else _turns(drawn[-1], rng, counting))
    # Mostly only their order tells places: a projector must not have to learn places first.
    placeless = 0.8 if blocks == 1 else 0.4
    layout = {"shuffle": 0.05, "gaps": 0.1, "placeless": placeless}
    batch = scenes.batch(
        drawn, turns, rng, blocks=blocks, **{name: varied * x for name, x in layout.items()}
    )
    return batch, OFFSET * varied


def _turns(scene: Scene, rng: Random, counting: float) -> list[Question]:
    """Six questions, of things every third time mostly yes-or-no ones; or one more, on how many."""
    if scene.kind == "objects" and rng.random() < 0.3:
        asked = [turn for family, n in COMPARING.items() for turn in ask(scene, family, rng, n)]
    else:
        asked = dialogue(scene, rng, 6)
    if counting and scene.kind in COUNTED and rng.random() < counting:
        family, question = COUNTED[scene.kind]
        many = Question(family, question, NUMBERS[len(scene.cells)])
        asked.insert(rng.randrange(len(asked) + 1), many)
    return asked


def probe_language(model: LlamaForCausalLM, blocks: int, count: int = 1000) -> dict[str, float]:
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
