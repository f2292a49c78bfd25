"""Models of other libraries, in and out: Hugging Face's folders, ARPA files.

`importing` and `exporting` do all of it; `reading` gives parameters alone. The
architectures (`known`) are in `decoders`, `llama`, `encoders`, `seq2seq` and `marian`,
in the language of `fields` and `rows`, which `architecture` reads both ways. Tokenizers
are `tokenizer_json`, n-grams `arpa_reading` and `arpa_writing`, and `harness` is
lm-evaluation-harness.
"""

from lm_jax.exchange.arpa_importing import import_arpa
from lm_jax.exchange.exporting import export_run
from lm_jax.exchange.importing import import_checkpoint
from lm_jax.exchange.reading import body_of, model_of

__all__ = ["body_of", "export_run", "import_arpa", "import_checkpoint", "model_of"]
