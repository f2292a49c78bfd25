"""A context of 131,072 tokens: a decoder of 1.2B parameters goes on with long texts.

Run:     ./launch.sh plan experiments/scale/llama_1b_128k.py
         --topology v5p:4x4x4 --fsdp 16 --tensor 4
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4    --fsdp 4 --sequence 4 --accumulate 4
                                                11.8 of 16   41.9 s   52%    50.1 k
           v5p:4x4x4  --fsdp 16 --tensor 4      14.6 of 95   4.62 s   50%     454 k
           v6e:16x16  --fsdp 16 --tensor 16     11.7 of 32   1.54 s   19%    1.37 M
           h100:8     --fsdp 8 --accumulate 2  25.1 of 55.9   13.2 s   66%     159 k

         A row is on the devices of one tensor axis: each holds all of its residual
         stream, 8 GiB in 16 blocks, and some of its heads and hidden columns. On a v5e
         there is no room for that: a row is on the devices of one sequence axis, and
         each has a part of its tokens.

Source:  Xiong et al. 2023, the base of the positions
Data:    ./tokens: train.bin and val.bin of ids below 32,000, as nanoGPT, llm.c or
         Megatron write them. For a plan, ids drawn at random do:

         mkdir -p tokens && python -c "import numpy as np; [
           np.random.default_rng(0).integers(32000, size=5_000_000, dtype=np.uint16)
           .tofile(f'tokens/{name}.bin') for name in ('train', 'val')]"
"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(size=32_000, end=None), context=131072),
    model=Transformer(
        layers=16,
        heads=16,
        width=2048,
        positions=Rotary(base=500_000.0),
        norm="rms",
        feedforward=Gated(ratio=4.0),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=3e-5, warmup="2000 steps", final=3e-6),
    batch=16,
    budget="20B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
