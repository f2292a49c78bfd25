"""The model of `lm_jax.models.Recurrent` with LSTM cells, in PyTorch."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lm_jax.bench.sizes import LSTMSize


class LSTM(nn.Module):
    """PyTorch's LSTM between an embedding and the logits; its state is carried."""

    hidden: Tensor
    cell: Tensor

    def __init__(self, size: LSTMSize):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.width)
        self.layers = nn.LSTM(size.width, size.width, size.layers, batch_first=True)
        self.logits = nn.Linear(size.width, size.vocab_size)
        shape = (size.layers, size.batch, size.width)
        self.register_buffer("hidden", torch.zeros(shape))
        self.register_buffer("cell", torch.zeros(shape))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of (batch, time) targets."""
        x, (hidden, cell) = self.layers(
            self.embedding(inputs), (self.hidden, self.cell)
        )
        self.hidden, self.cell = hidden.detach().float(), cell.detach().float()
        logits = self.logits(x)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
