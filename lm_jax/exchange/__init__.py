"""Models of other libraries, in and out: Hugging Face's folders, ARPA files."""

from lm_jax.exchange.arpa_importing import import_arpa
from lm_jax.exchange.exporting import export_run
from lm_jax.exchange.importing import import_checkpoint
from lm_jax.exchange.reading import body_of, model_of

__all__ = ["body_of", "export_run", "import_arpa", "import_checkpoint", "model_of"]
