"""How well entities are found: runs of words of one kind."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress


class Entity(NamedTuple):
    """A run of words: its kind, its first word and the one after its last."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class EntityScores:
    """Precision, recall and F1 of entities that are found whole and of their kind.

    Labels are those of CoNLL: B-X begins an entity of the kind X, I-X goes on with it,
    all others are outside. An I-X that has no X before it begins one too, so both
    customs (IOB1, IOB2) are read as conlleval reads them (Tjong Kim Sang and De
    Meulder 2003). So are those that mark ends (IOBES, BILOU): E-X or L-X is an entity's
    last word, S-X or U-X its only one.

    Attributes:
        every: how often; None is whenever the watched evaluation is made.
    """

    every: str | None = None

    watched: ClassVar[str] = "f1"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split, each sentence once.

        Raises:
            UserError: when no words are labelled.
        """
        if not any(field.name == "tags" for field in fitted.data.fields):
            raise UserError(_NO_WORDS)
        expected, found, names = fitted.predictions(split, progress)
        rows = zip(
            fitted.data.sentences[split], expected, found.astype(int), strict=True
        )
        words = defaultdict[int, list[tuple[str, str]]](list)
        for sentence, wanted, told in rows:  # a long sentence has several
            real = wanted >= 0
            both = zip(wanted[real], told[real], strict=True)
            words[sentence] += [(names[label], names[said]) for label, said in both]
        counts: Counter[str] = Counter()
        lines: list[dict[str, Any]] = []
        for number, labels in sorted(words.items()):
            given, said = map(list, zip(*labels, strict=True))
            counts += entity_counts(given, said)
            lines.append({"text": number + 1, "labels": given, "predicted": said})
        return Found(entity_scores(counts), lines=tuple(lines))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "tags":
            yield _NO_WORDS
        elif not any(kind for _, kind in map(_parted, planned.labels)):
            yield (
                "EntityScores are of labels such as B-PER and I-PER, and there is "
                f"{', '.join(planned.labels[:10])}: no entity would be found. Use "
                "Accuracy()."
            )


_NO_WORDS = "EntityScores are of labelled words: train by LabelTokens() on TokenLabels."


def entities(labels: Sequence[str]) -> set[Entity]:
    """Give the entities of a sentence.

    Args:
        labels: of its words.
    """
    found, start, before = set(), 0, ""
    for place, label in enumerate((*labels, "O")):
        mark, kind = _parted(label)
        if before and (mark in _FIRST or kind != before):
            found.add(Entity(before, start, place))
        if kind and (mark in _FIRST or kind != before):
            start = place
        if kind and mark in _LAST:
            found.add(Entity(kind, start, place + 1))
            kind = ""
        before = kind
    return found


# Marks of an entity's first word, and of its last; one between has I.
_FIRST, _LAST = ("B", "S", "U"), ("E", "L", "S", "U")


def _parted(label: str) -> tuple[str, str]:
    """The mark of a label, and its kind; of one that is outside, none."""
    mark, _, kind = label.partition("-")
    return (mark, kind) if mark in (*_FIRST, *_LAST, "I") else ("", "")


def entity_counts(given: Sequence[str], said: Sequence[str]) -> Counter[str]:
    """Count the entities that were given, that were said, and that are both."""
    wanted, told = entities(given), entities(said)
    sizes = {"given": len(wanted), "said": len(told), "both": len(wanted & told)}
    return Counter({name: count for name, count in sizes.items() if count})


def entity_scores(counts: Counter[str]) -> dict[str, float]:
    """Give precision, recall and F1 over all kinds; 0 where there is nothing."""
    given, said, both = (counts[name] for name in ("given", "said", "both"))
    return {
        "precision": both / said if said else 0.0,
        "recall": both / given if given else 0.0,
        "f1": 2 * both / (given + said) if both else 0.0,
    }
