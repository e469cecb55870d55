"""The tokenizer of `llama-micro`: one token a word, one a digit or capital letter.

A token that starts a word carries the mark `▁`, so "42" is `▁4 2` and decodes without a blank.
"""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ablate.data.world import scenes
from ablate.data.world.questions import CAPTION_PROMPT

SPECIAL = ("<pad>", "<bos>", "<eot>", "<user>", "<assistant>", "<image>", "<unk>")
ASKING = (
    f"{CAPTION_PROMPT} what colour shape pattern number level value word is are the a thing things "
    "bar bars dots on in at of how many there yes no leftmost rightmost topmost lowest"
)
# The generation prompt is a prefix of the assistant's turn, and `generation` marks what is learnt.
CHAT_TEMPLATE = (
    "<bos>{% for message in messages %}{% if message['role'] == 'user' %}"
    "<user>{{ message['content'] }}{% else %}"
    "<assistant>{% generation %}{{ message['content'] }}<eot>{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def words() -> list[str]:
    """Every word of the world, in a fixed order."""
    places = [f"{axis}{number + 1}" for axis in "rc" for number in range(scenes.GRID)]
    groups = (ASKING.split(), places, scenes.COLOURS, scenes.SHAPES, scenes.PATTERNS)
    return list(dict.fromkeys([*(word for group in groups for word in group), *scenes.NUMBERS]))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, ready for `save_pretrained`."""
    characters = (*scenes.DIGITS, *scenes.LETTERS)
    tokens = (*SPECIAL, *(f"▁{word}" for word in (*words(), *characters)), *characters)
    tokenizer = Tokenizer(
        models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend("▁"),
            normalizers.Replace(" ", "▁"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"▁?[a-z]+[0-9]?|▁?[A-Z0-9]|▁?[^▁a-zA-Z0-9]|▁"), "isolated"
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eot>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>", "<image>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
