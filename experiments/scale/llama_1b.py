"""A decoder of 1.2B parameters, as Llama has them: to plan a pod's step with.

Run:     ./launch.sh plan experiments/llama_1b.py --topology v5p:2x2x1 --fsdp 4
Expect:  temporaries a device, and seconds of a step without links and without the
         operations of attention's kernels, as the source's were counted; `plan` adds
         both: .379 s for v5p:2x2x1. 8 rows a device (--fsdp, and --batch 8 times the
         devices), jax 0.12, libtpu 0.0.52. "full" computes each block again in the
         backward pass, as below; "projections" is --remat projections:

           topology    full                   projections
           v5e:4x4     3.65 GiB,  .863 s
           v5p:2x2x1   4.15 GiB,  .354 s      9.95 GiB,  .332 s
           v5p:4x4x4   2.80 GiB,  .349 s      8.66 GiB,  .326 s
           v6e:16x16   2.78 GiB,  .250 s      8.89 GiB,  .205 s

Source:  MaxText 0.2.5, compiled and counted alike, with full rematerialisation:
         4.51 GiB, 1.059 s; 4.13, .351; 3.31, .345; 2.75, .248
Data:    ./tokens: train.bin and val.bin of ids below 32,000, as nanoGPT writes them.
         For a plan, ids drawn at random do:

         mkdir -p tokens && python -c "import numpy as np; [
           np.random.default_rng(0).integers(32000, size=200000, dtype=np.uint16)
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
    data=TokenStream(Corpus("tokens"), Ids(size=32_000, end=None), context=2048),
    model=Transformer(
        layers=16,
        heads=16,
        width=2048,
        positions=Rotary(),
        norm="rms",
        feedforward=Gated(ratio=4.0),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=3e-4, warmup="2000 steps", final=3e-5),
    batch=512,
    budget="20B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
