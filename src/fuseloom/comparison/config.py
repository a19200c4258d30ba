"""What a comparison depends on, and the models it compares."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.models import FusionSpec, ModelConfig
from fuseloom.models.spec import Depth
from fuseloom.registry import list_fusions, list_remedies, lookup
from fuseloom.train.fit import ClassWeight, FitConfig
from fuseloom.train.schedule import Schedule

__all__ = ["ALL_FUSIONS", "Candidate", "CompareConfig", "EncoderStart", "candidates"]

EncoderStart = Literal["joint", "pretrained", "pretrained-frozen"]
"""From scratch with the fusion, from those of each modality alone, or those as they are."""

ALL_FUSIONS = "all"
"""Stands for every merge, and every exchange before ``concat``, that can take the data."""
_TREATED = ("concat", "attention_pool")
"""Which of all fusions remedies are tried on: one whose outputs are a sum over modalities, and attention."""
_DEEPEST_FIRST: tuple[Depth, ...] = ("late", "middle", "early")
"""Where places are the same, as behind encoders of one stage, the first of these stands for them."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Settings of a comparison; equal settings and data give equal results."""

    fusions: tuple[str, ...] = (ALL_FUSIONS,)
    """As ``MERGE`` or ``EXCHANGE+MERGE``, each with ``@early``, ``@middle`` or ``@late`` if need be; ``all``
    stands for every merge, and every exchange before ``concat``, that can take the data."""
    exchanges: tuple[str, ...] = ()
    """Exchanges to add at each of the depths where streams have tokens or maps, before ``concat``, and that
    merge without them; ``all`` stands for every one."""
    depths: tuple[Depth, ...] = ()
    """Where the added exchanges stand; by default at each depth, ``early``, ``middle`` and ``late``."""
    remedies: tuple[str, ...] = ()
    """Remedies for neglected modalities, of `list_remedies`, to train fusions with once more; ``all`` stands
    for every one that can take the data. The fusions are those that are named; of ``all`` fusions
    ``concat`` and ``attention_pool``."""
    task: str | None = None
    """``classification`` or ``regression``; told from the target by default."""
    metric: str | None = None
    """A metric of the task; its default is stated in the report."""
    seeds: int = 3
    """Training runs per model, with seeds 0, 1, ..."""
    learning_rates: tuple[float, ...] = (5e-4, 1.5e-3, 5e-3)
    """Tried with seed 0; the lowest validation loss decides."""
    search_epochs: int = 20
    """For how long each learning rate is tried; the best one is then trained to the end."""
    folds: int | None = None
    """How many folds to make of the rows that are not tested, each of which is for validation once; 1 for a
    single split. By default 5 where the data give no split and have fewer than 1,000 rows, otherwise 1."""
    split_seed: int = 0
    """Of the splits that are made."""
    margin: float = 0.01
    """By how much a model may be worse than the best and still count as equal: in units of the metric, or
    where that has no bound, as a share of the best score."""
    embedding_encoder: Literal["embedding", "identity"] = "embedding"
    """What encodes given vectors: a small MLP, or nothing."""
    encoder: tuple[str, ...] = ()
    """What encodes a modality, where it is not what its kind gets by default: ``image=timm:resnet18,frozen``,
    see `fuseloom.comparison.encoding.EncoderSpec`."""
    encoders: EncoderStart = "joint"
    """How the encoders of a fusion are trained: ``joint``, from scratch with it; ``pretrained``, with it too,
    but starting as those of each modality alone; ``pretrained-frozen``, not at all: they stay as those."""
    class_weight: ClassWeight = "none"
    """``balanced`` weighs each class alike in the loss, whatever its share of the training rows."""
    modality_dropout: float = 0.0
    """Probability that training leaves a modality of a row out, so that a fusion learns to do without."""
    schedule: Schedule = "constant"
    """What the learning rate does after the warm-up, as `FitConfig` says; planned over ``max_epochs``, so
    that the run that tries a learning rate is the beginning of the one that is trained to the end."""
    warmup: float = 0.0
    """Share of the planned steps over which the learning rate rises to its peak."""
    clip_norm: float = 1.0
    """Norm that the gradients of a step are scaled down to; 0 leaves them as they are."""
    dim: int = 64
    """Width of every stream and of the fused value."""
    dropout: float = 0.5
    """In encoders and head."""
    max_epochs: int = 100
    """Passes over the training rows at most."""
    batch_size: int | None = None
    """Rows per training step; by default as `FitConfig` says."""
    show_rows: bool = True
    """Whether the report shows what some rows look like, their pictures, texts and sounds; otherwise it only
    names them."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.named_fusions or not self.learning_rates:
            raise OptionError("seeds, fusions and learning_rates must not be empty.")
        _check_depths(self.depths, self.exchanges)
        if self.remedied and self.encoders == "pretrained-frozen":
            raise OptionError("remedies must train encoders, got encoders='pretrained-frozen'.")
        if self.embedding_encoder not in ("embedding", "identity"):
            got = self.embedding_encoder
            raise OptionError(f"embedding_encoder must be 'embedding' or 'identity', got {got!r}.")
        if self.folds is not None and self.folds < 1:
            raise OptionError(f"folds must be 1 or more, got {self.folds}.")
        if self.encoders not in get_args(EncoderStart):
            raise OptionError(
                f"encoders must be 'joint', 'pretrained' or 'pretrained-frozen', got {self.encoders!r}."
            )
        if not 0 <= self.margin < 1:
            raise OptionError(f"margin must be in [0, 1), got {self.margin}.")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {self.dropout}.")
        self.search(self.learning_rates[0])

    @property
    def named_fusions(self) -> list[str]:
        """The fusions by name, each once, in canonical spelling."""
        merges, exchanges = list_fusions(kind="merge"), list_fusions(kind="exchange")
        every = [*merges, *(f"{exchange}+concat" for exchange in exchanges)]
        wanted = [name for one in self.fusions for name in (every if one == ALL_FUSIONS else [one])]
        if wanted and self.exchanges:
            wanted += ["concat", *(f"concat@{depth}" for depth in self._depths if depth == "late")]
            wanted += [name for names in self.placed_exchanges.values() for name in names]
        return list(dict.fromkeys(str(FusionSpec.parse(name)) for name in wanted))

    @property
    def remedied(self) -> dict[str, tuple[str, str]]:
        """Name of a fusion that a remedy trains -> the fusion and the remedy."""
        every = list_remedies()
        wanted = [name for one in self.remedies for name in (every if one == ALL_FUSIONS else [one])]
        for name in wanted:
            lookup(name, kind="remedy")
        named = [str(FusionSpec.parse(name)) for name in self.fusions if name != ALL_FUSIONS]
        fusions = named or list(_TREATED)
        return {
            f"{fusion} with {name}": (fusion, name) for fusion in fusions for name in dict.fromkeys(wanted)
        }

    @property
    def placed_exchanges(self) -> dict[str, list[str]]:
        """Exchange to add -> the fusions that have it, one per depth."""
        every = list_fusions(kind="exchange")
        wanted = [name for one in self.exchanges for name in (every if one == ALL_FUSIONS else [one])]
        return {name: [f"{name}@{depth}+concat" for depth in self._depths] for name in wanted}

    @property
    def _depths(self) -> list[Depth]:
        return [depth for depth in _DEEPEST_FIRST if depth in (self.depths or _DEEPEST_FIRST)]

    def state(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def fit(self, lr: float, seed: int) -> FitConfig:
        """Settings of one training run."""
        return FitConfig(
            lr=lr,
            seed=seed,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            class_weight=self.class_weight,
            modality_dropout=self.modality_dropout,
            schedule=self.schedule,
            warmup=self.warmup,
            clip_norm=self.clip_norm,
        )

    def search(self, lr: float) -> FitConfig:
        """Settings of the run that tries a learning rate; its schedule is that of the whole run."""
        epochs = min(self.search_epochs, self.max_epochs)
        return replace(self.fit(lr, 0), max_epochs=epochs, planned_epochs=self.max_epochs)

    def notes(self) -> list[str]:
        """What a reader of the scores must know of the training."""
        starts = {
            "pretrained": "encoders: fusions start from those of each modality alone",
            "pretrained-frozen": "encoders: fusions use those of each modality alone, frozen",
        }
        said = [starts[self.encoders]] if self.encoders in starts else []
        if self.class_weight == "balanced":
            said.append("class weights: balanced over the training rows, in the loss and in no metric")
        if self.modality_dropout > 0:
            said.append(f"modality dropout: {self.modality_dropout:g} in the training of fusions")
        if self.schedule != "constant" or self.warmup > 0:
            said.append(f"learning rate: {self.schedule} after a warm-up over {self.warmup:.0%} of the steps")
        if self.clip_norm != 1:
            norm = f"clipped to a norm of {self.clip_norm:g}" if self.clip_norm else "not clipped"
            said.append(f"gradients: {norm}")
        return said


def _check_depths(depths: Sequence[str], exchanges: Sequence[str]) -> None:
    if unknown := [depth for depth in depths if depth not in _DEEPEST_FIRST]:
        hint = did_you_mean(unknown[0], _DEEPEST_FIRST)
        raise OptionError(f"depths must be early, middle or late, got {unknown[0]!r}.{hint}")
    if depths and not exchanges:
        raise OptionError(f"exchanges must be named for depths {list(depths)}, got none. 'all' is every one.")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that takes part: a modality alone, a fusion of all, or a fusion that a remedy trains."""

    name: str
    role: Literal["unimodal", "fusion", "remedy"]
    modalities: tuple[str, ...]
    interaction: str
    model: ModelConfig = field(repr=False)
    encoder: tuple[str, ...] = ()
    """What encodes a modality, where it is not what its kind gets by default: ``image=timm:resnet18,frozen``,
    see `fuseloom.comparison.encoding.EncoderSpec`."""
    encoders: EncoderStart = "joint"
    """How its encoders are trained."""
    watched: bool = False
    """Whether to note how its attention divides between modalities, epoch by epoch."""


def candidates(encoders: Mapping[str, Mapping[str, Any]], config: CompareConfig) -> list[Candidate]:
    """Each modality alone, then each fusion of all of them, under the same encoders.

    Raises:
        OptionError: a modality has the name of a fusion, so that the two could not be told apart.
    """
    fusions = config.named_fusions
    if both := sorted(encoders.keys() & set(fusions)):
        raise OptionError(f"{both[0]!r} is the name of a modality and of a fusion. Rename the modality.")
    alone = [_candidate(name, {name: encoders[name]}, "concat", config) for name in encoders]
    fused = [_candidate(fusion, encoders, fusion, config) for fusion in fusions]
    treated = {fusion for fusion, _ in config.remedied.values()}
    fused = [replace(one, watched=one.name in treated and _has_class_token(one)) for one in fused]
    return alone + fused + [_treated(fused, name, *how) for name, how in config.remedied.items()]


def _has_class_token(candidate: Candidate) -> bool:
    return FusionSpec.parse(candidate.name).merge.name == "attention_pool"


def _treated(fused: Sequence[Candidate], name: str, fusion: str, remedy: str) -> Candidate:
    plain = next(one for one in fused if one.name == fusion)
    own = "outputs" in lookup(remedy, kind="remedy").card.touches  # it does not run the fusion then
    return replace(
        plain,
        name=name,
        role="remedy",
        model=replace(plain.model, remedy=remedy),
        watched=plain.watched and not own,
    )


def _candidate(
    name: str, encoders: Mapping[str, Mapping[str, Any]], fusion: str, config: CompareConfig
) -> Candidate:
    modalities = tuple(encoders)
    role: Literal["unimodal", "fusion"] = "unimodal" if len(encoders) == 1 else "fusion"
    start = "joint" if role == "unimodal" else config.encoders
    return Candidate(
        name=name,
        role=role,
        modalities=modalities,
        interaction="none" if role == "unimodal" else FusionSpec.parse(fusion).interaction,
        model=ModelConfig(
            encoders=dict(encoders),
            fusion=fusion,
            dim=config.dim,
            dropout=config.dropout,
            frozen=modalities if start == "pretrained-frozen" else (),
        ),
        encoders=start,
    )
