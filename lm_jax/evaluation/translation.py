"""How near what is written of sources is to what people wrote of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Progress
from lm_jax.evaluation.writing import Writes, pairs_of
from lm_jax.platform import from_extra

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
                f"Moses() needs sacremoses ({error}): {from_extra('translation')}"
            ) from error
        part = MosesTokenizer(lang=self.language).tokenize
        return [part(text, return_str=True, escape=False) for text in texts]


@dataclass(frozen=True)
class Translation(Writes):
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
    """

    tokenize: Words | Moses = "13a"
    lowercase: bool = False

    watched: ClassVar[str] = "bleu"

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write a text of each source of a split, and compare.

        Raises:
            UserError: when there are no pairs of texts.
        """
        pairs = pairs_of(fitted, split, "Translation")
        sources, targets = zip(*pairs, strict=True)
        texts = self.texts(fitted, sources, progress)
        scores, signatures = compared(texts, targets, self.tokenize, self.lowercase)
        rows = list(zip(map(str, sources), texts, targets, strict=True))
        shown = [f"{s}\n-> {text}\n   ({target})" for s, text, target in rows[:3]]
        names = ("source", "prediction", "target")
        lines = tuple(dict(zip(names, row, strict=True)) for row in rows)
        return Found(scores, tuple(shown), {"signatures": signatures}, lines)


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

    def parted(given: Sequence[str]) -> list[str]:
        # Small letters first, as sacreBLEU does: Moses looks for capitals where a
        # sentence may begin.
        given = [text.lower() for text in given] if lowercase else [*given]
        return moses.parted(given) if moses else given

    bleu = BLEU(lowercase, tokenize=words, force=True)
    chrf = CHRF(lowercase=lowercase)
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
