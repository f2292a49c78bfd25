"""Texts that tokenizers give back: lines of two languages, and anything."""

from hypothesis import strategies as st

ENGLISH = "To be, or not to be: that is the question.\nWhether 'tis nobler\n"
CHINESE = "牀前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n"
texts = st.text(st.sampled_from(ENGLISH + CHINESE + " \n"), max_size=80)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | texts
