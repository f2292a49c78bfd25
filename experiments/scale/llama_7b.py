"""A decoder of 7B parameters, as Llama 2 has them, 4 rows of 4,096 tokens a device.

Run:     ./launch.sh plan experiments/scale/llama_7b.py
         --topology v5p:4x4x4 --fsdp 64 --batch 256 --remat full,projections
Expect:  planned, and never trained here. Of one device, memory as compiled (jax 0.12,
         libtpu 0.0.52); the rest is estimated from its published figures, with nothing
         sent while others compute:

           topology                                         GiB    step   MFU  tokens/s
           v5p:4x4x4  --fsdp 64 --batch 256          9.06 of 95  2.23 s   69%     470 k
                      the same, --remat projections  32.8 of 95  2.06 s   74%     509 k
                      the same, --remat products     53.5 of 95  1.86 s   82%     563 k
           v6e:16x16  --fsdp 256 --batch 1024        7.58 of 32  1.29 s   59%    3.25 M
                      the same, --remat offload      3.86 of 32  1.56 s   49%    2.69 M
                      the same, --remat projections  too large: 31.25 of 31.24 GiB
                      and --optimizer-memory host    31.2 of 32  1.29 s   59%    3.24 M

         On v6e:16x16 no policy that fits is faster than full rematerialisation: where
         projections are kept, the compiler computes others again to find room.

         Beside MaxText 0.2.5 at this width with 4 rows of a context of 4,096 a device
         and full rematerialisation. At 2,048 it would make half of the operations, and
         take half of its seconds; its hidden width isn't known. Temporaries and seconds
         without links, without fetching from the host (.013 s) and without attention's
         kernels, counted as MaxText's were: that count reads all that the layers have
         left wherever a fusion inside another takes a slice of it. The last column is
         plan's own, which reads the slice (--json: without_kernels_and_links):

           v5p:4x4x4  MaxText                     8.56 GiB  1.978 s
                      full                        7.88 GiB  2.000 s  1.919 s
                      projections                31.60 GiB  1.803 s  1.779 s
                      products                   52.37 GiB  1.844 s  1.579 s
           v6e:16x16  MaxText                     8.17 GiB  1.490 s
                      full                        7.29 GiB  1.512 s  1.104 s
                      projections, as above      31.09 GiB  1.172 s  1.086 s

Source:  Touvron et al. 2023, table 1 and section 2.2; MaxText 0.2.5
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
    data=TokenStream(Corpus("tokens"), Ids(size=32_000, end=None), context=4096),
    model=Transformer(
        layers=32,
        heads=32,
        width=4096,
        positions=Rotary(),
        norm="rms",
        norm_epsilon=1e-5,
        feedforward=Gated(ratio=11008 / 4096),
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
