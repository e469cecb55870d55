"""A tokenizer's chat template as processors of transformers need it."""

LISTS = """\
{%- set ns = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}
{%- set said = message['content'] -%}
{%- else -%}
{%- set said -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}
{%- endset -%}
{%- endif -%}
{%- set ns.messages = ns.messages + [{'role': message['role'], 'content': said | string}] -%}
{%- endfor -%}
{%- set messages = ns.messages %}{{ '' }}"""
"""What is said in parts (`{"type": "image"}`, `{"type": "text", "text": ...}`) as one text, an
image on a line of its own, as LLaVA's conversations have them."""


def for_processors(template: str, blank: int) -> str:
    """The template for messages that are said in parts, too; its prompts end `blank` characters
    sooner, which are one token with the first word of an answer."""
    if not blank:
        return LISTS + template
    cut = f"{{{{ prompt[:-{blank}] if add_generation_prompt else prompt }}}}"
    return f"{LISTS}{{% set prompt %}}{{{{ '' }}}}{template}{{{{ '' }}}}{{% endset %}}{cut}"
