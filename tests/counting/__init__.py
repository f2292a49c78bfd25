"""Models that count: hypothesis's corpora, and the definitions spelled out."""

import math
from collections import Counter

import numpy as np
from hypothesis import strategies as st


@st.composite
def corpora(draw, most=60):
    """A short text of a few words, an order that fits, and perhaps an end token."""
    vocab_size = draw(st.integers(2, 6))
    token = st.integers(0, vocab_size - 1)
    ids = draw(st.lists(token, min_size=5, max_size=most))
    order = draw(st.integers(1, 5))
    end_id = draw(st.none() | token)
    return np.array(ids, np.uint16), vocab_size, order, end_id


def start_of(text, place, end_id):
    """Where the context of a place begins."""
    for start in range(place - 1, -1, -1):
        if text[start] == end_id:
            return start
    return 0


class Naive:
    """Chen and Goodman's formulas over dictionaries, one n-gram at a time."""

    def __init__(self, text, vocab_size, order, end_id, discounts=3):
        text = [int(token) for token in text]
        self.vocab_size, self.order, self.end_id = vocab_size, order, end_id
        self.occurrences = Counter()
        before = {}
        for place in range(len(text)):
            first = start_of(text, place, end_id)
            for start in range(max(first, place - order + 1), place + 1):
                gram = tuple(text[start : place + 1])
                self.occurrences[gram] += 1
                # Where nothing comes before, each occurrence is a sort of its own.
                what = text[start - 1] if start > first else ("nothing", place)
                before.setdefault(gram, set()).add(what)
        self.kinds = {gram: len(found) for gram, found in before.items()}
        self.discounts = {
            length: self.estimate(length, discounts) for length in range(1, order + 1)
        }

    def counts(self, length):
        """The counts that Kneser-Ney uses for n-grams of a length."""
        source = self.occurrences if length == self.order else self.kinds
        return {gram: n for gram, n in source.items() if len(gram) == length}

    def estimate(self, length, discounts):
        n = Counter(self.counts(length).values())
        if discounts == 1:
            d = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
            return {1: d, 2: d, 3: d}
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            d = {
                1: 1 - 2 * y * n[2] / n[1],
                2: 2 - 3 * y * n[3] / n[2],
                3: 3 - 4 * y * n[4] / n[3],
            }
            if min(d.values()) > 0:
                return d
        return {1: 0.5, 2: 1.0, 3: 1.5}

    def after(self, context):
        """The counts of the tokens that were seen after a context."""
        counts = self.counts(len(context) + 1)
        return {gram[-1]: n for gram, n in counts.items() if gram[:-1] == context}

    def kneser_ney(self, word, context):
        seen = self.after(context)
        shorter = self.kneser_ney(word, context[1:]) if context else 1 / self.vocab_size
        if not seen:
            return shorter
        d = self.discounts[len(context) + 1]
        total = sum(seen.values())
        taken = sum(d[min(count, 3)] for count in seen.values())
        own = seen[word] - d[min(seen[word], 3)] if word in seen else 0.0
        return own / total + taken / total * shorter

    def occurred_after(self, context):
        return {
            gram[-1]: n
            for gram, n in self.occurrences.items()
            if len(gram) == len(context) + 1 and gram[:-1] == context
        }

    def maximum_likelihood(self, word, context):
        seen = self.occurred_after(context)
        if not seen:
            return self.maximum_likelihood(word, context[1:])
        return seen.get(word, 0) / sum(seen.values())

    def add_k(self, word, context, k):
        seen = self.occurred_after(context)
        total = sum(seen.values())
        return (seen.get(word, 0) + k) / (total + k * self.vocab_size)

    def stupid(self, word, context, alpha):
        """The score of Brants et al."""
        seen = self.occurred_after(context)
        if word in seen:
            return seen[word] / sum(seen.values())
        return alpha * self.stupid(word, context[1:], alpha) if context else 0.0

    def contexts(self, text):
        """The context of each token but the first."""
        text = [int(token) for token in text]
        for place in range(1, len(text)):
            start = start_of(text, place, self.end_id)
            start = max(start, place - self.order + 1)
            yield text[place], tuple(text[start:place])


def log(p):
    """The logarithm, -inf of 0."""
    return math.log(p) if p > 0 else -math.inf
