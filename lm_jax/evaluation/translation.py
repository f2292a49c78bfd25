"""How near what is written of sources is to what people wrote of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.writing import write_texts
from lm_jax.generation import Beam

Words = Literal["13a", "intl", "zh", "char", "none"]


@dataclass(frozen=True)
class Moses:
    """Words as Moses' script parts them (Koehn et al. 2007), by sacremoses.

    The "tokenized BLEU" of papers from before sacreBLEU, where they say no other. It
    needs the extra `translation`.
    """

    language: str = "en"
    """Whose abbreviations and marks: the language of the targets."""

    def parted(self, texts: Sequence[str]) -> list[str]:
        """Put a blank between words.

        Raises:
            UserError: sacremoses is missing.
        """
        try:
            from sacremoses import MosesTokenizer
        except ImportError as error:
            raise UserError(
                f"Moses() needs sacremoses ({error}): install the extra "
                "`translation`, for example LM_JAX_EXTRAS=translation ./launch.sh "
                "doctor."
            ) from error
        part = MosesTokenizer(lang=self.language).tokenize
        return [part(text, return_str=True, escape=False) for text in texts]


@dataclass(frozen=True)
class Translation:
    """BLEU and chrF of what is written of each source, by sacreBLEU (Post 2018).

    Targets are taken as they stand in the corpus; what is written is the text that its
    tokens spell. Each source gives one text, an empty one too, so that the numbers of
    both are the same. Signatures stand in result.json.

    Attributes:
        tokenize: what sacreBLEU takes for a word: "13a" as mteval does, "intl" by
            Unicode, "zh" parts Chinese characters, "char" all; "none" is what stands
            between blanks; Moses("de") parts them as Moses does, and then BLEU by
            "13a" stands beside as "sacrebleu". chrF takes texts as they are.
        lowercase: whether capitals count as small letters.
        beam: a search for each text; None takes the likeliest token at each step.
        length: tokens of a text, at most.
        rows: texts that are written at once.
        every: how often; None is whenever the watched evaluation is made.
    """

    tokenize: Words | Moses = "13a"
    lowercase: bool = False
    beam: Beam | None = None
    length: int = within(SIZES, 64)
    rows: int = within(SIZES, 64)
    every: str | None = None

    watched: ClassVar[str] = "bleu"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers outside their interval, and a beam that can't be."""
        check(self, "evaluation")
        if self.beam is not None:
            self.beam.check(2)

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write a text of each source of a split, and compare.

        Raises:
            UserError: when there are no pairs of texts.
        """
        if fitted.data.pairs is None:
            raise UserError(_NO_PAIRS)
        sources, targets = zip(*fitted.data.pairs(split), strict=True)
        texts = write_texts(
            fitted, sources, self.length, self.rows, beam=self.beam, progress=progress
        )
        scores, signatures = compared(texts, targets, self.tokenize, self.lowercase)
        rows = zip(sources[:3], texts, targets, strict=False)
        shown = [f"{s}\n-> {text}\n   ({target})" for s, text, target in rows]
        return Found(scores, tuple(shown), {"signatures": signatures})

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if not planned.pairs:
            yield _NO_PAIRS


_NO_PAIRS = (
    "Translation compares texts that are written of sources: train by Seq2Seq() on "
    "TextPairs, or by NextToken() on Answers."
)


def compared(
    texts: Sequence[str],
    targets: Sequence[str],
    tokenize: Words | Moses,
    lowercase: bool,
) -> tuple[dict[str, float], dict[str, str]]:
    """Give BLEU, chrF and how long the texts are, and the signatures of both.

    Args:
        texts: that were written.
        targets: what people wrote, one of each.
        tokenize, lowercase: as of `Translation`.

    Raises:
        UserError: they are not as many.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if len(texts) != len(targets):
        raise UserError(
            f"{len(texts):,} texts can't be compared with {len(targets):,} targets: "
            "each has one."
        )
    moses = tokenize if isinstance(tokenize, Moses) else None
    words = "none" if isinstance(tokenize, Moses) else tokenize
    bleu = BLEU(lowercase, tokenize=words, force=True)
    chrf = CHRF(lowercase=lowercase)
    parted = moses.parted if moses else list
    scores = {
        "bleu": float(bleu.corpus_score(parted(texts), [parted(targets)]).score),
        "chrf": float(chrf.corpus_score(list(texts), [list(targets)]).score),
    }
    sizes = [sum(map(len, each)) for each in (texts, targets)]
    scores["length_ratio"] = sizes[0] / sizes[1]
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    if moses:
        beside, said = compared(texts, targets, "13a", lowercase)
        scores["sacrebleu"], signatures["sacrebleu"] = beside["bleu"], said["bleu"]
        signatures["bleu"] += f"|parted:sacremoses-{moses.language}"
    return scores, signatures
