"""Text for people: where a document ends, so does the line."""

from hypothesis import given
from hypothesis import strategies as st

from lm_jax.tokenizers import Bytes, Characters, Ids, Words
from lm_jax.tokenizers.trained import written
from tests.properties import quick

names = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=5)


@quick
@given(names)
def test_documents_are_lines(texts):
    for value in (Characters(), Bytes(), Words()):
        tokenizer = value.train(["abc", "a b c", *texts], end=True)
        ids = [i for t in texts for i in [*tokenizer.encode(t), tokenizer.end_id]]
        assert written(tokenizer, ids).split("\n")[:-1] == texts


def test_a_text_of_one_document_and_ids_are_as_they_were():
    plain = Characters().train(["abc"])
    assert written(plain, [0, 1, 2]) == "abc"
    assert written(Ids(9, 8).train([]), [1, 8, 2]) == "1 8 2"
