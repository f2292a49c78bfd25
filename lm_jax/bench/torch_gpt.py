"""The model of `lm_jax.models.Transformer`, as it stands by default, in PyTorch."""

from torch import Tensor, nn
from torch.nn import functional

from lm_jax.bench.sizes import Size


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x))."""

    def __init__(self, heads: int, width: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.projections = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.feedforward_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        batch, time, width = x.shape
        projected = self.projections(self.attention_norm(x))
        query, key, value = (
            part.view(batch, time, self.heads, -1).transpose(1, 2)
            for part in projected.split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True
        )
        x = x + self.output(mixed.transpose(1, 2).reshape(x.shape))
        up = self.up(self.feedforward_norm(x))
        return x + self.down(functional.gelu(up, approximate="tanh"))


class GPT(nn.Module):
    """Blocks between an embedding and the tied logits."""

    def __init__(self, size: Size):
        super().__init__()
        self.embedding = nn.Embedding(size.vocab_size, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        blocks = [Block(size.heads, size.width) for _ in range(size.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(size.width, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of (batch, time) targets."""
        x = self.embedding(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.norm(x) @ self.embedding.weight.T
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
