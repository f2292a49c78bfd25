"""A mixture of 64 experts, of which 8 serve a token: 6.9B parameters, 1.3B at work.

Run:     ./launch.sh plan experiments/scale/olmoe_7b.py
         --topology v5p:4x4x4 --fsdp 64 --accumulate 2
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4    --fsdp 16 --accumulate 32   12.3 of 16   33.9 s   31%     124 k
           v5p:4x4x4  --fsdp 64 --accumulate 2   12.3 of 95   2.26 s   50%    1.86 M
           v6e:16x16  --fsdp 256                 6.03 of 32  542 ms   26%    7.74 M
           h100:8     --fsdp 8 --accumulate 128  24.3 of 55.9   34.1 s   12%     123 k

         Rows and parameters are parted by fsdp, and each device puts all experts of
         a block together before it uses them, as often as rows are parted. On a GPU
         blocks of rows take copies of their experts' kernels besides: memory binds.
         For v5p the compiler has a kernel for `ragged_dot`. For v5e and v6e it makes a
         product with all experts of it, 48 times the model's own operations, 532 s on
         v5e:4x4: blocks of 128 rows go to jax's megablox there.
         Experts on eight GPUs (h100:8 --expert 8 --accumulate 16) are no better there:
         51.4 GiB, 73.1 s at 6%, of ten times the model's own operations.

Source:  Muennighoff et al. 2024, OLMoE-1B-7B: sizes, rows and rates
Data:    ./tokens: train.bin and val.bin of ids below 50,304, as nanoGPT, llm.c or
         Megatron write them. For a plan, ids drawn at random do:

         mkdir -p tokens && python -c "import numpy as np; [
           np.random.default_rng(0).integers(32000, size=5_000_000, dtype=np.uint16)
           .tofile(f'tokens/{name}.bin') for name in ('train', 'val')]"
"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import MoE, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(size=50_304, end=50_279), context=4096),
    model=Transformer(
        layers=16,
        heads=16,
        width=2048,
        positions=Rotary(),
        norm="rms",
        norm_epsilon=1e-5,
        qk_norm="width",
        feedforward=MoE(
            experts=64, k=8, ratio=0.5, activation="silu", gated=True, normalised=False
        ),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=4e-4, warmup="2000 steps", final=4e-5),
    batch=1024,
    budget="5T tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
