"""What every model that is shown to lmms-eval here has in common."""

import lmms_eval.api.task  # noqa: F401
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from ablate.errors import UserError


class GeneratingLMM(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A model of lmms-eval that answers by generating, and in no other way."""

    is_simple = True

    def clean(self) -> None:
        """Nothing: lmms-eval's own would delete the model after the first task."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: broken in lmms-eval 0.7.3 for every model, and no task of ours needs it."""
        raise UserError("ablate answers by generating: choose a generate_until variant of the task")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: a conversation of several rounds is not what is studied here."""
        raise UserError("ablate answers single questions: multi-round tasks are not offered")
