"""The looks of a page: on wide and narrow screens, light and dark, and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --page: #fdfdfc; --ink: #1c1d1f; --soft: #5b5f66;
  --line: #d9dbdf; --card: #f4f5f6; --mark: #2b63b8; --warn: #9a4b00; }
@media (prefers-color-scheme: dark) { :root { --page: #15171a; --ink: #e8e9eb; --soft: #a3a8b0;
  --line: #383c43; --card: #1e2125; --mark: #7fb0f5; --warn: #f0ad5e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
footer { padding-top: 2rem; padding-bottom: 3rem; color: var(--soft); font-size: .875rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
h4 { font-size: 1rem; margin: 1.25rem 0 .35rem; }
p, li, figcaption { max-width: 46rem; }
a { color: var(--mark); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: .75rem 0; padding: 0;
  list-style: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.warn { border-left: .3rem solid var(--warn); padding: .35rem .9rem; background: var(--card); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr));
  gap: 1rem 2rem; align-items: start; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .4rem; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: .875rem; }
td.n, th.n { text-align: right; white-space: nowrap; }
table.heat td { text-align: center; min-width: 3.1rem; border: 1px solid var(--page);
  background: color-mix(in srgb, var(--mark) calc(var(--v) * 55%), var(--card)); }
table.heat td.alike { font-weight: 700; outline: 2px solid var(--ink); outline-offset: -3px; }
table.heat td.self { background: none; color: var(--soft); }
table.heat th { border: 0; }
figure { margin: 0 0 1rem; }
figure.made img { display: block; max-width: 100%; height: auto; background: #fff;
  border-radius: .3rem; padding: .4rem; }
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .bar { fill: var(--mark); }
svg .axis { stroke: var(--line); }
svg .prior { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
ul.strip { display: flex; flex-wrap: wrap; gap: .35rem; margin: .25rem 0; padding: 0;
  list-style: none; }
ul.strip li { width: var(--side); font-size: .7rem; line-height: 1.3; text-align: center;
  color: var(--soft); font-variant-numeric: tabular-nums; }
ul.strip img { display: block; width: 100%; height: auto; image-rendering: pixelated;
  border-radius: 2px; }
.kind { display: grid; grid-template-columns: 13rem 1fr; gap: .25rem 1rem; padding: .45rem 0;
  border-bottom: 1px solid var(--line); align-items: center; }
.kind p { margin: 0; }
@media (max-width: 42rem) { .kind { grid-template-columns: 1fr; } h1 { font-size: 1.5rem; }
  th, td { padding: .25rem .45rem; } }
@media print { :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444;
  --line: #bbb; --card: #f3f3f3; --mark: #2b63b8; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; } nav { display: none; }
  figure, .kind, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; } }
""".strip()
