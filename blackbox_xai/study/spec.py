"""What a study is: a subject, methods, budgets, seeds, and the scores that judge them. Plain records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..attribution import Attribution
from ..errors import InvalidInput
from ..estimators import METHODS, Estimator
from ..game import Target
from ..oracles import as_oracle
from ..oracles.base import Oracle
from ..players import Players
from .group_scores import GROUP_SCORES, GroupScore
from .names import EVERY_INSTANCE, Cell
from .scores import SCORES as CELL_SCORES
from .scores import Score

RANDOM = "random"  # a control: a random map, no query
SCORES: dict[str, type[Score] | type[GroupScore]] = {**CELL_SCORES, **{s.name: s for s in GROUP_SCORES}}


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One input to explain.

    name : str, unique. x, baseline, players, groups, target : as in `explain`.
    label : int or None. The data's own label, for scores over a dataset; None is the model's choice.
    """

    name: str
    x: Any
    baseline: Any = None
    players: Any = None
    groups: Mapping[str, Sequence[Any]] | None = None
    target: Target = None
    label: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model, inputs, and white-box references.

    Attributes
    ----------
    oracle : an oracle, or anything `as_oracle` wraps.
    instances : the inputs.
    references : name -> function (Instance) -> Attribution; drawn as lines, they cost no query.
    facts : plain values that say what answers, such as a runtime and its precision; shown in the report. A study
        resumes only where they are the same.
    """

    oracle: Any
    instances: Sequence[Instance]
    references: Mapping[str, Callable[[Instance], Attribution]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a study.

    label : str, unique; its name in tables. estimator : a configured Estimator, or None for the random control.
    players : as in `explain`, for this method; None takes the instance's.
    """

    label: str
    estimator: Estimator | None
    players: str | None = None

    @classmethod
    def named(cls, name: str, *, label: str | None = None, players: str | None = None, **parameters: Any) -> Method:
        """A method from `estimators.METHODS` with parameters, or "random", the control that asks nothing."""
        if name == RANDOM:
            return cls(label or RANDOM, None)
        if name not in METHODS:
            raise InvalidInput(f"study: method {name!r} is unknown; there are {', '.join([*sorted(METHODS), RANDOM])}.")
        try:
            return cls(label or name, METHODS[name](**parameters), players)
        except TypeError as error:
            raise InvalidInput(f"study: method {name!r}: {error}.") from error


class Chain(NamedTuple):
    """The cells that share answers: one instance, method and seed, budgets ascending. The unit of work."""

    instance: int
    method: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A declared study; the same in a TOML file is read by `study.read`.

    Parameters
    ----------
    name : str.
    subject : Subject, or a function without arguments that makes one (in each worker: for models that are heavy to
        send). Making it queries nothing.
    methods : Method each; a string is ``Method.named(string)``.
    budgets : int each, rows. A run with the next budget continues the one before where the method's design nests.
    seeds : int each.
    scores : Score or GroupScore each; a string is the default of that name. Those of groups (stability, agreement, ROAD
        and other dataset scores) are made at the end of a run from stored maps, and may be added to a study later.
    judge : what the attribution is judged with: {"players": "pixels" or None, "replacement": see `metrics.replaced`}.
        Default: pixels for images, else the explainer's players; a background set is judged with its mean.
    keep_maps : int. Attributions are kept for pictures for so many instances (first seed).
    limit : int or None. Rows that the whole study may send.
    """

    name: str
    subject: Subject | Callable[[], Subject]
    methods: Sequence[Method | str]
    budgets: Sequence[int]
    seeds: Sequence[int] = (0,)
    scores: Sequence[Score | GroupScore | str] = ("deletion",)
    judge: Mapping[str, Any] = field(default_factory=dict)
    keep_maps: int = 3
    limit: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # shown in the report

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "methods", tuple(Method.named(m) if isinstance(m, str) else m for m in self.methods))
        put(self, "scores", tuple(SCORES[s]() if isinstance(s, str) and s in SCORES else s for s in self.scores))
        put(self, "budgets", tuple(int(b) for b in self.budgets))
        put(self, "seeds", tuple(int(s) for s in self.seeds))
        labels = [m.label for m in self.methods if isinstance(m, Method)]
        for what, values in (("method labels", labels), ("budgets", self.budgets), ("seeds", self.seeds)):
            if not values or len(set(values)) != len(values):
                raise InvalidInput(f"study {self.name!r}: {what} must be one at least, each once; got {list(values)}.")
        if list(self.budgets) != sorted(self.budgets) or self.budgets[0] < 1:
            raise InvalidInput(f"study {self.name!r}: budgets must ascend and be >= 1, got {list(self.budgets)}.")
        unknown = [s for s in self.scores if not isinstance(s, (Score, GroupScore))]
        if unknown:
            raise InvalidInput(f"study: score {unknown[0]!r} is unknown; there are {', '.join(sorted(SCORES))}.")
        called = [s.called(s.name) for s in self.all_scores] + [s.called(s.name) for s in self.all_group_scores]
        if len(set(called)) != len(called):
            raise InvalidInput(f"study {self.name!r}: a score is named twice with one replacement: {sorted(called)}.")
        for group in self.all_group_scores:
            if group.seeds_needed > len(self.seeds):
                raise InvalidInput(f"study {self.name!r}: {group.name} needs {group.seeds_needed} seeds at least.")
        if min(self.seeds) < 0:
            raise InvalidInput(f"study {self.name!r}: seeds must be >= 0, got {list(self.seeds)}.")
        if set(self.judge) - {"players", "replacement"}:
            raise InvalidInput(f"study: judge takes 'players' and 'replacement', not {sorted(self.judge)}.")

    def made(self) -> Made:
        """The study with its subject made and checked. Queries nothing."""
        subject = self.subject if isinstance(self.subject, Subject) else self.subject()
        names = [i.name for i in subject.instances]
        if not names or len(set(names)) != len(names) or EVERY_INSTANCE in names:
            raise InvalidInput(f"study {self.name!r}: instances need unique names, one at least.")
        clash = {m.label for m in self.all_methods} & set(subject.references)
        if clash:
            raise InvalidInput(f"study {self.name!r}: {clash} name both a method and a reference.")
        for score in self.all_scores:
            fixed = [i.name for i in subject.instances if isinstance(i.x, str) or isinstance(i.players, Players)]
            if score.reruns() and fixed:
                raise InvalidInput(
                    f"study {self.name!r}: {score.name} nudges images and rows of numbers; {fixed[0]!r} is a text "
                    "or has its own Players object. Leave that score out."
                )
            if score.reference is not None and score.reference not in subject.references:
                raise InvalidInput(f"study {self.name!r}: the subject has no reference {score.reference!r}.")
        return Made(self, subject, as_oracle(subject.oracle))

    @property
    def all_methods(self) -> tuple[Method, ...]:
        """The methods, as records."""
        return tuple(m for m in self.methods if isinstance(m, Method))

    @property
    def all_scores(self) -> tuple[Score, ...]:
        """The scores, as records."""
        return tuple(s for s in self.scores if isinstance(s, Score))

    @property
    def all_group_scores(self) -> tuple[GroupScore, ...]:
        """The scores of several maps together, as records."""
        return tuple(s for s in self.scores if isinstance(s, GroupScore))

    def described(self) -> dict[str, Any]:
        """Plain values that say what the study is: what must not change when it is resumed."""
        return {
            "name": self.name,
            "methods": {m.label: [repr(m.estimator), m.players] for m in self.all_methods},
            "scores": [[s.name, _plain(vars(s))] for s in self.all_scores],
            "group_scores": [[s.name, _plain(vars(s))] for s in self.all_group_scores],
            "judge": {k: str(v) for k, v in self.judge.items()},
            "budgets": list(self.budgets),
            "seeds": list(self.seeds),
            "settings": _plain(dict(self.settings)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A study with its subject at hand."""

    study: Study
    subject: Subject
    oracle: Oracle

    def described(self) -> dict[str, Any]:
        """As `Study.described`, with the subject's facts."""
        facts = {"facts": _plain(dict(self.subject.facts))} if self.subject.facts else {}
        described = self.study.described()
        return {**described, "settings": {**described["settings"], **facts}}

    def chains(self, instances: int | None = None) -> Iterator[Chain]:
        """All units of work, in order: instances outermost; `instances`: the first so many alone."""
        for i in range(len(self.subject.instances[:instances])):
            for seed in self.study.seeds:
                for m in range(len(self.study.all_methods)):
                    yield Chain(i, m, seed)

    def cells(self, chain: Chain) -> list[Cell]:
        """The cells of one unit, budgets ascending."""
        name, label = self.subject.instances[chain.instance].name, self.study.all_methods[chain.method].label
        return [Cell(name, label, budget, chain.seed) for budget in self.study.budgets]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
