"""A decoder of 1.2B parameters, as Llama has them, on a million tokens a step.

Run:     ./launch.sh plan experiments/scale/llama_1b.py
         --topology v5e:4x4 --fsdp 16 --accumulate 4
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                    GiB     step   MFU  tokens/s
           v5e:4x4    --fsdp 16 --accumulate 4      5 of 16   3.88 s   62%     270 k
           v5p:4x4x4  --fsdp 64                 3.01 of 95   380 ms   68%    2.76 M
           v6e:16x16  --fsdp 256               0.905 of 32  72.1 ms   45%    14.5 M
           h100:8     --fsdp 8 --accumulate 8  5.74 of 55.9   1.67 s   57%     626 k

         Weak scaling on v5e, 8 rows a chip (--batch 128, --mesh fsdp=-1,
         --topology v5e:4x4,v5e:8x8,v5e:16x16 --scaling scaling.png; drawn in
         experiments/results/scaling_llama_1b.png):

            chips   GiB   computing       ICI       DCN   MFU
               16  4.49      895 ms   79.1 ms         -   62%   compiled
               64  2.97      894 ms    121 ms         -   59%   compiled
              256  2.75      893 ms   61.2 ms         -   63%   compiled
            1,024  2.75      893 ms   61.2 ms   4.52 ms   63%   formula
            4,096  2.75      893 ms   61.2 ms   5.65 ms   63%   formula

         Nothing breaks up to 4096 chips but what the field calls a batch: it is 67M
         tokens by then. 16 and 64 chips have no rings, and 256 do.
         Two slices of v5e:4x4 (--slices 2 --fsdp 16 --accumulate 2) take 2.09 s at 58%,
         102 ms of it on the network: it is 1/64 as fast as the chips' own links.

         64 slices of v6e:16x16, 16,384 chips (--slices 64 --mesh replica=64,fsdp=256
         --batch 65536), have 1.68 GiB each, 126 ms and 51%; its plan takes 6 minutes.

         Compiling takes a minute of one core and 1.4 GiB for 16 layers (60 to 100 s),
         60 s and 1.7 GiB for 64 of them.

         Beside MaxText 0.2.5, compiled and counted alike with full rematerialisation:
         temporaries, and seconds without links and without attention's kernels. 8 rows
         a device; "projections" is --remat projections:

           topology   full                 projections          MaxText
           v5e:4x4    3.65 GiB,  .863 s                         4.51 GiB, 1.059 s
           v5p:2x2x1  4.15 GiB,  .354 s    9.95 GiB,  .332 s    4.13 GiB,  .351 s
           v5p:4x4x4  2.80 GiB,  .349 s    8.66 GiB,  .326 s    3.31 GiB,  .345 s
           v6e:16x16  2.78 GiB,  .250 s    8.89 GiB,  .205 s    2.75 GiB,  .248 s

Source:  MaxText 0.2.5
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
