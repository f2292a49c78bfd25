"""A decoder of 8B parameters, as Llama 3 has them, on 4M tokens a step.

Run:     ./launch.sh plan experiments/scale/llama_8b.py
         --topology v5p:4x4x4 --fsdp 64 --accumulate 4
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4    --fsdp 16 --accumulate 32   15.4 of 16    123 s   56%    34.1 k
           v5p:4x4x4  --fsdp 64 --accumulate 4   11.9 of 95     11 s   67%     383 k
           v6e:16x16  --fsdp 256                7.77 of 32   2.12 s   43%    1.98 M
           h100:8     --fsdp 8 --accumulate 64  23.5 of 55.9   53.6 s   51%    78.2 k

Source:  Grattafiori et al. 2024, table 3, before the context grows
Data:    ./tokens: train.bin and val.bin of ids below 128,256, as nanoGPT, llm.c or
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
    data=TokenStream(Corpus("tokens"), Ids(size=128_256, end=128_001), context=8192),
    model=Transformer(
        layers=32,
        heads=32,
        kv_heads=8,
        width=4096,
        positions=Rotary(base=500_000.0),
        norm="rms",
        norm_epsilon=1e-5,
        feedforward=Gated(ratio=3.5),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=3e-4, warmup="2000 steps", final=3e-5),
    batch=512,
    budget="15T tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
