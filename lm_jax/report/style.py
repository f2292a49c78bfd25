"""How a page looks: light and dark, on a phone and on a desk; nothing is fetched."""

from collections.abc import Iterator

from lm_jax.report.charts import stretches
from lm_jax.report.gathered import Gathered

# Okabe and Ito's colours, darkened where they would be faint on white, lightened on
# black: told apart by colour-blind readers.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #595959; --paper: #fff;
  --line: #d9d9d9; --shade: #f5f5f5; --good: #00664b; --bad: #a84300;
  --c0: #0072b2; --c1: #d55e00; --c2: #00805c; --c3: #b0508c; --c4: #8a6d00;
  --c5: #555; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #a8a8a8;
  --paper: #161616; --line: #3a3a3a; --shade: #212121; --good: #3ecfa4;
  --bad: #ff9a5c; --c0: #56b4e9; --c1: #f5853f; --c2: #2fc79b; --c3: #e08fc0;
  --c4: #f0c93c; --c5: #bbb; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p, ul { margin: .5rem 0; max-width: 48rem; }
ul { padding-left: 1.2rem; }
.soft, figcaption, th, .below, .side, dt { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: .875rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tbody th { color: var(--ink); font-weight: 600; font-size: 1rem; }
.n { text-align: right; white-space: nowrap; }
.points { min-width: 11rem; max-width: 18rem; }
.verdict { min-width: 8rem; }
tbody th { overflow-wrap: anywhere; min-width: 6rem; }
.better { color: var(--good); font-weight: 600; }
.worse { color: var(--bad); font-weight: 600; }
.strip { position: relative; display: block; width: 8rem; height: .9rem;
  margin: .35rem 0 .35rem auto; }
.strip i { position: absolute; }
.zero { top: 0; bottom: 0; border-left: 1px solid var(--soft); }
.range { top: .3rem; height: .3rem; border-radius: .2rem; background: var(--c0);
  opacity: .5; }
.mean { top: .15rem; width: .6rem; height: .6rem; margin-left: -.3rem;
  border-radius: 50%; background: var(--c0); }
/* Fixed: a choice is where the reader is, and the page doesn't move to it. */
.axis { position: fixed; top: 0; opacity: 0; pointer-events: none; }
.bar { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; padding: .5rem 0; background: var(--paper);
  border-bottom: 1px solid var(--line); font-size: .875rem; }
.bar span { display: inline-flex; align-items: center; gap: .4rem; }
.bar svg { width: 1.75rem; height: .75rem; }
.choice { margin-left: auto; gap: 0 !important; }
.choice label { padding: .25rem .7rem; border: 1px solid var(--line); cursor: pointer; }
.charts { display: grid; gap: 1.5rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 1rem 0 0; min-width: 0; }
figcaption { font-size: .875rem; font-weight: 600; margin-bottom: .4rem; }
.plot { display: grid; grid-template-columns: 3.2rem 1fr; font-size: .75rem;
  padding-right: 1.25rem;
  font-variant-numeric: tabular-nums; }
.plot svg { width: 100%; height: 14rem; overflow: visible;
  clip-path: inset(-2px -6px -2px -2px); border-bottom: 1px solid var(--line); }
.side, .below { position: relative; }
.side span { position: absolute; right: .5rem; transform: translateY(-50%); }
.below { grid-column: 2; height: 2.2rem; display: none; }
.below span { position: absolute; top: .2rem; transform: translateX(-50%);
  white-space: nowrap; }
.below i { position: absolute; bottom: 0; right: 0; font-style: normal; }
path { fill: none; stroke: var(--c); vector-effect: non-scaling-stroke; }
.line { stroke-width: 1.8; stroke-linejoin: round; }
.lone { stroke-width: 1; opacity: .7; }
.band { fill: var(--c); stroke: none; opacity: .18; }
.dots { stroke-width: 5; stroke-linecap: round; }
.grid { stroke: var(--line); stroke-width: 1; }
.s1 { stroke-dasharray: 7 4; } .s2 { stroke-dasharray: 2 3; }
.dots { stroke-dasharray: none; }
.samples { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
pre { margin: 0; padding: .75rem; background: var(--shade); border-radius: .3rem;
  font: .8125rem/1.45 ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: plaintext; }
code { font: .8125rem ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr;
  gap: .25rem 1.25rem; }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; margin-top: 1.5rem; }
@media (max-width: 44rem) {
  .cards thead { position: absolute; left: -99rem; }
  .cards tr { display: block; padding: .6rem 0; border-bottom: 1px solid var(--line); }
  .cards th, .cards td { display: flex; justify-content: space-between; gap: 1rem;
    padding: .1rem 0; border: 0; max-width: none; text-align: right;
    white-space: normal; min-width: 0; }
  .cards th { color: var(--ink); font-size: 1rem; font-weight: 600; }
  .cards td:empty { display: none; }
  .cards td::before { content: attr(data-label); color: var(--soft); text-align: left; }
  .strip { margin-right: 0; }
}
@media print { .bar { position: static; } .choice { display: none; } }
"""


def style(gathered: Gathered) -> str:
    """The page's style, and what each choice of an axis shows and stretches."""
    colours = [f".c{k} {{ --c: var(--c{k}); }}" for k in range(6)]
    return "\n".join([STYLE.strip(), *colours, *_axes(gathered)]) + "\n"


def _axes(gathered: Gathered) -> Iterator[str]:
    for axis in gathered.axes:
        chosen = f"#axis-{axis}:checked ~ main"
        yield f"{chosen} .of-{axis} {{ display: block; }}"
        yield (
            f"{chosen} label[for=axis-{axis}] {{ background: var(--ink); "
            "color: var(--paper); }"
        )
        yield (
            f"#axis-{axis}:focus-visible ~ main label[for=axis-{axis}] "
            "{ outline: 2px solid var(--c0); outline-offset: 2px; }"
        )
        for index, factor in stretches(gathered, axis):
            if abs(factor - 1) > 1e-4:
                yield f"{chosen} .v{index} {{ transform: scaleX({factor:.4f}); }}"
