"""GPT-2 of 1.5B parameters (XL).

Run:     ./launch.sh plan experiments/scale/gpt2_1558m.py
         --topology v5e:4x4 --fsdp 16 --accumulate 2
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4    --fsdp 16 --accumulate 2   6.02 of 16   2.74 s   60%     192 k
           v5p:4x4x4  --fsdp 64                 2.41 of 95   393 ms   45%    1.34 M
           v6e:16x16  --fsdp 16                 2.17 of 32   141 ms   16%    3.72 M
           h100:8     --fsdp 8 --accumulate 8  5.85 of 55.9   1.42 s   46%     369 k

         25 heads are no multiple of a tensor axis, and 1600 columns none of fsdp 256.
         On 256 chips fsdp is 16, one of the two axes that they stand along.

Source:  Radford et al. 2019, table 2; rates as Brown et al. 2020, table 2.1
Data:    ./tokens: train.bin and val.bin of ids below 50,257, as nanoGPT, llm.c or
         Megatron write them. For a plan, ids drawn at random do:

         mkdir -p tokens && python -c "import numpy as np; [
           np.random.default_rng(0).integers(32000, size=5_000_000, dtype=np.uint16)
           .tofile(f'tokens/{name}.bin') for name in ('train', 'val')]"
"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import Learned, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(), context=1024),
    model=Transformer(
        layers=48,
        heads=25,
        width=1600,
        positions=Learned(),
        use_bias=True,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=2e-4, warmup="2000 steps", final=2e-5),
    batch=512,
    budget="300B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
