"""What a study needs that may not be on this machine, and how each kind of it is got.

Weights and language models go to `weights_home()`, training data and benchmark sets to
`ablate.files.datasets()`: where they are looked for anyway, so that the folder can be carried to a
machine without a network. Each comes whole or not at all, what is there is not fetched again, and
published pickles become safetensors on the way. Imports no torch before one does.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import gguf, hub_encoders, llms
from ablate.catalog import weights as hub
from ablate.catalog.annotators import HUBS
from ablate.catalog.data_sources import Files, MixData, WorldData
from ablate.catalog.encoder_spec import Weights
from ablate.catalog.map_encoders import drawn_by
from ablate.catalog.suites import SuiteTask
from ablate.config.study import Study
from ablate.design import encoder_spec, llm_spec
from ablate.errors import UserError
from ablate.files import sha256_file, sha256_files
from ablate.hub.download import answered, note, notes, repository

WEIGHTS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""Under which name a model's weights are taken: the first that its repository has."""

BESIDE = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "generation_config.json",
)
"""What else of its repository decides what a language model says, by patterns."""


PROCESSOR = ("preprocessor_config.json", "processor_config.json", "image_processor_config.json")
"""What an annotator's images are prepared by, where its repository has it."""


@dataclass(frozen=True)
class Need:
    """One thing that a study needs.

    names: what the study calls it, several where they share a file. origin: its repository on the
    hub, or what its source says of it. files: what of that. place: where it lies or has to be put.
    get: fetches it to there, or raises UserError; None if that takes a hand.
    """

    kind: Literal["encoder", "llm", "annotator", "data", "benchmark"]
    names: tuple[str, ...]
    origin: str
    files: str
    path: Path
    here: bool
    get: Callable[[], None] | None


def needs(study: Study) -> list[Need]:
    """What a study needs beside what comes with `ablate`, each thing once.

    But for models of no name of ours: without them it is no study (`repositories`, `towers`).
    """
    encoders = [need for need in _encoders(study) if not hub_encoders.repository(need.names[0])]
    models = [*encoders, *_llms(study), *_annotators(study)]
    return [*models, *_data(study), *_benchmarks(study)]


def repositories(names: Iterable[str]) -> list[Need]:
    """Of the language models, those that are known by their repository alone."""
    return [
        _llm(name, name, None)
        for name in sorted(names)
        if hub.REPOSITORY.fullmatch(name) and not llms.known(name) and not Path(name).is_dir()
    ]


def towers(titles: Iterable[str]) -> list[Need]:
    """Of the encoders `hf:...`, those that are known by their repository alone."""
    by_repository: dict[str, list[str]] = {}
    for title in sorted(titles):
        repository = hub_encoders.repository(title)
        if repository:
            by_repository.setdefault(repository, []).append(title)
    return [_tower(repository, tuple(names)) for repository, names in by_repository.items()]


def _tower(repository: str, names: tuple[str, ...]) -> Need:
    """A tower is here if its configuration, which is fetched last, and its weights are."""
    config = hub.find(repository, "config.json")
    here = config is not None and any(hub.find_whole(repository, file) for file in WEIGHTS[:2])
    folder = config.parent if config and here else hub.weights_home() / repository
    get = partial(_model, repository, None, ("preprocessor_config.json",))
    return Need("encoder", names, repository, "weights, configuration", folder, here, get)


def require_weights(study: Study) -> None:
    """Raise one `UserError` that lists the encoders, language models and annotators that are not
    here, or names the package that brings one."""
    for spec in _language_models(study):
        if spec.is_gguf:
            gguf.require_reader(spec.name)
        if spec.kind == "packaged" and spec.file is None:
            raise gguf.missing(spec.name, gguf.package_of(spec.ref))
    absent = [need for need in _models(study) if not need.here]
    if absent:
        named = (f"{n.kind} {', '.join(n.names)} ({n.files} of {n.origin})" for n in absent)
        raise UserError(
            f"weights are missing: {'; '.join(named)}; `ablate fetch STUDY` gets them, "
            f"to {hub.weights_home()}"
        )


def _models(study: Study) -> Iterator[Need]:
    yield from _encoders(study)
    yield from _llms(study)
    yield from _annotators(study)


def _encoders(study: Study) -> Iterator[Need]:
    sharing: dict[Weights, list[str]] = {}
    for title in sorted(study.shelf):
        sharing.setdefault(encoder_spec(title).weights, []).append(title)
    for weights, names in sharing.items():
        if weights.kind == "published":
            published = (weights.ref, weights.file, weights.revision)
            path = hub.find_whole(*published)
            target = hub.weights_home() / weights.ref / hub.safetensors_name(weights.file)
            get = partial(_weights, *published)
            yield Need(
                "encoder", tuple(names), weights.ref, weights.file, path or target, bool(path), get
            )


def _language_models(study: Study) -> list[llms.LlmSpec]:
    return [llm_spec(name) for name in sorted({design.llm for design in study.designs})]


def _llms(study: Study) -> Iterator[Need]:
    for spec in _language_models(study):
        if spec.kind == "published":
            yield _llm(spec.name, spec.ref, spec.revision)
        if spec.kind == "packaged":
            yield _packaged(spec)


def _packaged(spec: llms.LlmSpec) -> Need:
    """A language model that a Python package brings, which pip installs, not we."""
    package, file = gguf.package_of(spec.ref), Path(spec.ref).name

    def get() -> None:
        raise gguf.missing(spec.name, package)

    here = spec.file is not None
    path = spec.file or Path(spec.ref)
    return Need("llm", (spec.name,), f"the package {package}", file, path, here, get)


def _llm(name: str, repository: str, revision: str | None) -> Need:
    """A language model is here if its configuration, which is fetched last, and its weights are."""
    config = hub.find(repository, "config.json", revision)
    weights = any(hub.find_whole(repository, file, revision) for file in WEIGHTS[:2])
    here = config is not None and weights
    folder = config.parent if config and here else hub.weights_home() / repository
    get = partial(_model, repository, revision, BESIDE)
    files = "weights, configuration, tokenizer"
    return Need("llm", (name,), repository, files, folder, here, get)


def _annotators(study: Study) -> Iterator[Need]:
    """The models of transformers that annotate, by their repositories."""
    asked = [choice for design in study.designs for choice in design.speakers]
    asked += filter(None, (drawn_by(encoder_spec(title)) for title in study.shelf))
    models = {(choice["model"], choice["name"]) for choice in asked if choice["name"] in HUBS}
    for model, name in sorted(models):
        if hub.REPOSITORY.fullmatch(model):
            need = _llm(f"{name}:{model}", model, None)
            get = partial(_model, model, None, (*BESIDE, *PROCESSOR))
            yield replace(need, kind="annotator", get=get)


def _data(study: Study) -> Iterator[Need]:
    yielded: set[Path] = set()
    for named, source in study.learnt_from.items():
        if isinstance(source, WorldData):
            continue
        parts = source.mix if isinstance(source, MixData) else {named: source}
        for name, files in sorted(parts.items()):
            for need in _source(name, files):
                if need.path not in yielded:
                    yielded.add(need.path)
                    yield need


def _source(name: str, files: Files) -> Iterator[Need]:
    """A source's conversations and images, to be fetched if its origin is a dataset on the hub."""
    texts, images, absent = files.conversations, files.images, files.absent()
    # A folder of images that the conversations are put into would pass for whole.
    mixed = images is not None and texts.is_relative_to(images)
    on_hub = hub.REPOSITORY.fullmatch(files.origin) and not mixed  # else it is words
    get = partial(_conversations, files.origin, texts) if on_hub else None
    yield Need("data", (name,), files.origin, texts.name, texts, texts not in absent, get)
    if images is not None:
        get = partial(_images, files.origin, images) if on_hub else None
        archive = f"{images.name}.zip" if on_hub else "images"
        yield Need("data", (name,), files.origin, archive, images, images not in absent, get)


def _benchmarks(study: Study) -> Iterator[Need]:
    for task in study.asks.published:
        published, folder = benchmarks.hub(task), benchmarks.root() / task.task
        files = f"{published.config or 'default'}, split {published.split}"
        here, get = benchmarks.is_here(task), partial(_benchmark, task, folder)
        yield Need("benchmark", (task.task,), published.dataset, files, folder, here, get)


def _weights(name: str, file: str, revision: str | None) -> None:
    """Get a file of weights as safetensors; of an index all the files it names, then itself."""
    folder = hub.weights_home() / name
    target = folder / hub.safetensors_name(file)
    if hub.whole(target):
        return
    pickled = target != folder / file
    source = hub.find(name, file, revision) if pickled else None
    source = source or repository(name, "model", revision).download(file, folder)
    if file.endswith(".index.json"):
        for shard in sorted(set(hub.shards(source).values())):
            _weights(name, str(Path(file).with_name(shard)), revision)
    if pickled:
        from ablate.encoders.tensors import convert

        convert(source, target)
        if known := notes(folder).get(file):
            converted = {**known, "sha256": sha256_file(target)}
            note(folder, hub.safetensors_name(file), **converted)
        if source.is_relative_to(folder):  # and not in the cache of the hub's own tools
            source.unlink()


def _model(name: str, revision: str | None, patterns: Iterable[str]) -> None:
    """Get a model's folder with what else is of these patterns, its configuration last."""
    source = repository(name, "model", revision)
    weights = next((file for file in WEIGHTS if file in source.files), None)
    if weights is None:
        raise UserError(f"{name} on the hub holds no weights; looked for {', '.join(WEIGHTS)}")
    _weights(name, weights, revision)
    beside = [file for file in source.files if any(fnmatch(file, pattern) for pattern in patterns)]
    for file in (*sorted(beside), "config.json"):
        source.download(file, hub.weights_home() / name)


def _conversations(origin: str, target: Path) -> None:
    """Get the file of conversations that has its own name on the hub, too."""
    source = repository(origin, "dataset")
    if target.name not in source.files:
        raise UserError(f"{origin} holds no {target.name}: convert what it holds, and put it there")
    source.download(target.name, target.parent)


def _images(origin: str, target: Path) -> None:
    """Get the folder of images out of the archive of its name, which may hold the folder itself."""
    source, archive = repository(origin, "dataset"), f"{target.name}.zip"
    if archive not in source.files:
        raise UserError(f"{origin} holds no {archive}: get the images, and put them there")
    packed, draft = (
        source.download(archive, target.parent),
        target.with_name(f".{target.name}.draft"),
    )
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with ZipFile(packed) as opened:
            opened.extractall(draft)
    except BadZipFile as error:
        packed.unlink()
        raise UserError(f"{packed} cannot be unpacked: {error}") from None
    alone = [path.name for path in draft.iterdir()] == [target.name]
    (draft / target.name if alone else draft).rename(target)
    shutil.rmtree(draft, ignore_errors=True)
    packed.unlink()


def _benchmark(task: SuiteTask, target: Path) -> None:
    """Get the set of a benchmark, as `ablate.catalog.benchmark_sets` prepares it."""
    source = repository(benchmarks.hub(task).dataset, "dataset")
    draft = target.with_name(f"{target.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    with answered(source.name):
        benchmarks.prepare(task, source.commit, draft)
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    note(draft, ".", source.name, source.commit, sha256_files(files, draft))
    draft.rename(target)
