"""GPT-2 of 124M parameters, on half a million tokens a step.

Run:     ./launch.sh plan experiments/scale/gpt2_124m.py
         --topology v5e:4x4
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4                              3.47 of 16   269 ms   49%    1.95 M
           v5p:4x4x4                            2.45 of 95  28.1 ms   51%    18.7 M
           v6e:16x16                            2.04 of 32  13.8 ms   13%      38 M
           h100:8     --accumulate 2           4.41 of 55.9   145 ms   36%    3.61 M

         It is too small for many chips: on 256 each has two rows, and the optimizer
         moves more bytes than the rows do.

Source:  Radford et al. 2019; the recipe is nanoGPT's (train_gpt2.py)
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
        layers=12,
        heads=12,
        width=768,
        positions=Learned(),
        use_bias=True,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=6e-4, warmup="2000 steps", final=6e-5),
    batch=512,
    budget="300B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
