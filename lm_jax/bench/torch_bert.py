"""A BERT of transformers and a layer on its first token, in PyTorch."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from lm_jax.bench.sizes import BERTSize


class BERT(nn.Module):
    """transformers' BertModel, dropout and one layer."""

    def __init__(self, size: BERTSize):
        super().__init__()
        config = BertConfig(
            vocab_size=size.vocab_size,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            max_position_embeddings=size.context,
            hidden_dropout_prob=size.dropout,
            attention_probs_dropout_prob=size.dropout,
        )
        self.body = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(size.dropout)
        self.head = nn.Linear(size.width, 2)

    def forward(self, inputs: Tensor, label: Tensor) -> Tensor:
        """Mean cross-entropy of (batch,) classes."""
        mask = torch.ones_like(inputs)
        hidden = self.body(inputs, attention_mask=mask).last_hidden_state
        logits = self.head(self.dropout(hidden[:, 0]))
        return functional.cross_entropy(logits.float(), label)
