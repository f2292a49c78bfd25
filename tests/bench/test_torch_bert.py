"""Both sides of the BERT benchmark compute the same loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from lm_jax.bench.sizes import BERTSize
from tests.exchange.made import write_model

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
SIZE = BERTSize(2, 2, 16, context=6, batch=3, vocab_size=23, dropout=0.0)


def test_the_losses_of_a_batch_are_equal(tmp_path):
    from transformers import BertModel

    from lm_jax.bench.torch_bert import BERT

    batch = {name: jnp.asarray(array) for name, array in SIZE.batches(1)[0].items()}
    model = SIZE.model()
    params = model.init(jax.random.key(0), batch["inputs"])["params"]
    whole = model.body.clone(logit_bias=True, head_activation="gelu_exact")
    learnt = write_model(tmp_path, whole)
    of_body = unflatten_dict(learnt, sep="/")
    params = {name: of_body.get(name, value) for name, value in params.items()}
    loss, weight, _, _ = SIZE.objective(model, params, batch, None, None)

    other = BERT(SIZE).eval()
    other.body = BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    head = params["class_head"]
    other.head.weight.data = torch.tensor(np.array(head["kernel"])).T
    other.head.bias.data = torch.tensor(np.array(head["bias"]))
    given = (torch.tensor(np.array(batch[n])).long() for n in ("inputs", "label"))
    wanted = other(*given).item()
    np.testing.assert_allclose(loss / weight, wanted, rtol=1e-5)
