"""The style of a leakage page, for light and for dark.

Invariant: every colour is one of the variables, which have a value for both; blue, orange and green are told apart
also by those who do not see red.
"""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1c2430; --quiet: #5b6675; --line: #d5dae1; --card: #f6f8fa;
  --served: #2f6fde; --event: #e07b00; --other: #2a9d6f; --changed: #cf4a72; --gained: #8e63c7; --lost: #8a949f;
  --good: #e3f5ea; --good-edge: #2a9d6f; --bad: #fde7e4; --bad-edge: #c0392b; --track: #e4e8ed; --bar: #fbdcb4; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --text: #e4e8ee; --quiet: #9aa5b1; --line: #323a45;
  --card: #1a2028; --served: #6fa3ff; --event: #ff9f3f; --other: #52c796; --changed: #f0789b; --gained: #b794e0;
  --lost: #7d8894;
  --good: #12301f; --good-edge: #52c796; --bad: #3d1a17; --bad-edge: #ff7b6b; --track: #2a313b; --bar: #5a3d16; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 1320px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; } small, .quiet { color: var(--quiet); }
p { margin: .35rem 0; max-width: 110ch; }
.verdict { border-left: 6px solid; border-radius: 4px; padding: .8rem 1rem; margin: 1rem 0; font-size: 1.1rem; }
.good { background: var(--good); border-color: var(--good-edge); }
.bad { background: var(--bad); border-color: var(--bad-edge); }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
.tile { border: 1px solid var(--line); border-top: 4px solid; border-radius: 6px; padding: .6rem 1rem; width: 16rem; }
.tile b { display: block; font-size: 2rem; line-height: 1.2; } .tile span { color: var(--quiet); }
.tile.m0 { border-top-color: var(--served); } .tile.m1 { border-top-color: var(--event); }
.tile.m2 { border-top-color: var(--other); }
details { margin: 1rem 0; } summary { cursor: pointer; } dl { margin: .5rem 0 0; } dt { font-weight: 600; }
dd { margin: 0 0 .4rem; color: var(--quiet); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; white-space: normal; font-weight: 600; background: var(--card); min-width: 3.5rem; }
th[rowspan], td:first-child { text-align: left; }
.group { text-align: center; border-left: 1px solid var(--line); } tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--card); } a { color: var(--served); text-decoration: none; }
a:hover { text-decoration: underline; }
.bar { background: linear-gradient(to right, var(--bar) calc(var(--share) * 100%), transparent 0); }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; padding: 0; margin: .3rem 0;
  font-size: .86rem; color: var(--quiet); }
.key li::before { content: ""; display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .45em; }
.key .m0::before { background: var(--served); } .key .m1::before { background: var(--event); }
.key .m2::before { background: var(--other); } .key .k0::before { background: var(--changed); }
.key .k1::before { background: var(--gained); } .key .k2::before { background: var(--lost); }
.card { border: 1px solid var(--line); border-radius: 6px; background: var(--card); padding: .8rem 1rem;
  margin: .8rem 0; break-inside: avoid; }
.card:target { outline: 2px solid var(--served); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(265px, 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; max-width: 380px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--quiet); font: 11px system-ui, sans-serif; }
svg line { stroke: var(--quiet); stroke-width: .7; } .track { fill: var(--track); }
rect.m0 { fill: var(--served); } rect.m1 { fill: var(--event); } rect.m2 { fill: var(--other); }
.k0 { fill: var(--changed); } .k1 { fill: var(--gained); } .k2 { fill: var(--lost); }
"""
