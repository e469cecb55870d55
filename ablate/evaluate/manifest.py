"""The entry point that makes `--model ablate` known to lmms-eval; must stay light to import."""

from lmms_eval.models.registry_v2 import ModelManifest


def manifests() -> list[ModelManifest]:
    """Our model, by the class lmms-eval is to import when it is asked for."""
    return [ModelManifest(model_id="ablate", simple_class_path="ablate.evaluate.adapter.AblateLMM")]
