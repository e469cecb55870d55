"""What a stage's `train` may say of a part: `1.0e-4`, or `{lr: 1.0e-4, lora: {rank: 16}}`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from ablate.catalog.adapters import ADAPTERS
from ablate.catalog.sharing import SHARE_WEIGHTS
from ablate.errors import UserError, nearest
from ablate.parsing.validation import mistake


def split(stage: Any) -> Any:
    """A stage as written, with the rates of its parts in `train`, their adapters in `adapters`."""
    train = stage.get("train") if isinstance(stage, dict) else None
    if not isinstance(train, dict) or not any(isinstance(how, dict) for how in train.values()):
        return stage
    rates, adapters = dict(train), dict[str, Any]()
    for part, how in train.items():
        if isinstance(how, dict):
            rates[part], adapter = _of_part(how, ["train", part])
            adapters |= {part: adapter} if adapter else {}
    return {**stage, "train": rates, "adapters": {**(stage.get("adapters") or {}), **adapters}}


def require_adaptable(strategy: str, adapters: Mapping[Any, Mapping[str, Any]]) -> None:
    """UserError where processes that share a step in this way cannot train adapters (by part)."""
    if strategy == "deepspeed" and adapters:
        raise UserError(
            f"strategy 'deepspeed' trains parts whole, but {', '.join(sorted(adapters))} has an "
            "adapter; choose ddp or fsdp"
        )
    for part, adapter in adapters.items():
        if strategy in SHARE_WEIGHTS and adapter["name"] == "qlora":
            raise UserError(
                f"strategy '{strategy}' shares out weights, but those of {part} are in four bits "
                "under qlora; choose ddp"
            )


def _of_part(how: dict[str, Any], path: Sequence[str]) -> tuple[Any, dict[str, Any] | None]:
    """The rate of a part, and its adapter."""
    given = {name: options for name, options in how.items() if options is not None}
    if "lr" not in given:
        raise mistake("its lr is missing, as in {lr: 1.0e-4, lora: {rank: 16}}", *path)
    rate = given.pop("lr")
    if len(given) > 1:
        raise mistake(f"one adapter a part is possible, not {' and '.join(sorted(given))}", *path)
    for name, options in given.items():
        if name not in ADAPTERS.names():
            hint = nearest(name, [*ADAPTERS.names(), "lr"])
            raise mistake(f"no adapter '{name}'{hint}", *path, name)
        if not isinstance(options, dict):
            options = _only_option(name, options)
        if not isinstance(options, dict):
            raise mistake(f"its options should be a dictionary, got {options!r}", *path, name)
        return rate, _filled({"name": name, **options}, [*path, name])
    return rate, None


def _only_option(name: str, value: Any) -> Any:
    """What is written in the place of options, as the one there is: `layers: blocks.2?`."""
    known = ADAPTERS.options(name)
    if len(known) != 1 or not isinstance(value, str | list):
        return value
    [(option, default)] = known.items()
    is_word = isinstance(default, tuple) and isinstance(value, str)
    return {option: [value] if is_word else value}


def _filled(adapter: dict[str, Any], path: Sequence[str] = ()) -> dict[str, Any]:
    """With every option of it."""
    options = {**adapter}
    name = str(options.pop("name", None))
    try:
        return {"name": name, **ADAPTERS.filled(name, options)}
    except ValueError as error:
        raise mistake(str(error), *path) from None


AdapterConfig = Annotated[dict[str, Any], AfterValidator(_filled)]
"""An adapter's name with its options, as they are in a step's spec."""
