"""The looks of the page, and the dial, which gradio does not have."""

__all__ = ["CSS", "DIAL", "DIAL_CSS", "DIAL_SCRIPT"]

CSS = """
.gradio-container { width: 100%; max-width: 1180px !important;
  margin: 0 auto !important; overflow: visible !important; }
#bench { align-items: flex-start; }
#stage { position: sticky; top: 0; z-index: 50; padding: .5rem 0;
  background: var(--body-background-fill); }
img.pixels { display: block; width: 100%; margin: 0; image-rendering: pixelated; }
#picture img.one { max-width: min(100%, 60vh); margin: 0 auto; border-radius: 4px; }
#picture .grid { display: grid; grid-template-columns: auto auto minmax(0, 1fr);
  gap: .2rem .4rem; font-size: .75rem; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; }
#picture .grid b { color: var(--body-text-color); text-align: center; grid-column: 3; }
#picture .grid b.down { grid-column: 1; writing-mode: vertical-rl; transform: rotate(180deg); }
#picture .grid div.down { display: flex; flex-direction: column; }
#picture .grid div.down span { flex: 1; display: flex; align-items: center;
  justify-content: flex-end; }
#picture .grid div.across { grid-column: 3; display: flex; }
#picture .grid div.across span { flex: 1; text-align: center; min-width: 0; }
#controls .block:has(.dial) { padding: 0; }
.switch input[type=checkbox] { appearance: none; width: 2.2rem; height: 1.2rem;
  border-radius: 1rem; background-image: none !important; position: relative; }
.switch input[type=checkbox]::after { content: ""; position: absolute; top: .1rem; left: .1rem;
  width: .85rem; height: .85rem; border-radius: 50%; background: var(--body-text-color-subdued);
  transition: transform .1s; }
.switch input[type=checkbox]:checked::after { transform: translateX(1rem); background: #fff; }
#pair .told { color: var(--error-text-color); overflow-wrap: anywhere; }
#pair .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
#posterior .cards { display: grid; gap: .5rem 1.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
#pair figure, #posterior figure { margin: 0; }
#pair figcaption, #posterior figcaption { font-size: .8rem;
  color: var(--body-text-color-subdued); }
#posterior figcaption b { color: var(--body-text-color); }
#posterior svg { display: block; width: 100%; height: auto; overflow: visible;
  margin-top: .4rem; }
#posterior svg text { font: 15px var(--font); fill: var(--body-text-color-subdued); }
#posterior svg .bar { fill: var(--color-accent); }
#posterior svg .axis { stroke: var(--border-color-primary); }
#posterior svg .prior { stroke: var(--body-text-color); stroke-width: 1.5;
  stroke-dasharray: 4 3; fill: none; }
@media (max-width: 700px) { #picture img.one { max-width: 45vh; } }
""".strip()

# Of ``${...}`` gradio makes JavaScript, with the component's own properties as names.
DIAL = """
<div class="dial" role="slider" tabindex="0" aria-label="${name}" aria-valuemin="-180"
  aria-valuemax="180" aria-valuenow="${Math.round(value * 180 / Math.PI)}">
<span>${name}</span>
<svg viewBox="-50 -50 100 100"><circle r="46"></circle>
<line x2="${46 * Math.cos(value)}" y2="${-46 * Math.sin(value)}"></line>
<circle class="knob" cx="${36 * Math.cos(value)}" cy="${-36 * Math.sin(value)}" r="7"></circle>
</svg>
<output>${Math.round(value * 180 / Math.PI)}°</output>
</div>
""".strip()

DIAL_CSS = """
.dial { display: flex; align-items: center; gap: 1rem; padding: var(--block-padding);
  border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); color: var(--block-label-text-color); }
svg { width: 6rem; height: 6rem; touch-action: none; cursor: grab; }
circle { fill: var(--background-fill-secondary); stroke: var(--border-color-primary);
  stroke-width: 2; }
line { stroke: var(--color-accent); stroke-width: 4; stroke-linecap: round; }
.knob { fill: var(--color-accent); stroke: #fff; }
output { font-variant-numeric: tabular-nums; }
""".strip()

DIAL_SCRIPT = """
const turn = 2 * Math.PI;
const go = angle => {
  props.value = props.low + (((angle - props.low) % turn) + turn) % turn;
  trigger('input');
};
const point = event => {
  const box = element.querySelector('svg').getBoundingClientRect();
  go(Math.atan2(box.top + box.height / 2 - event.clientY,
                event.clientX - box.left - box.width / 2));
};
element.addEventListener('pointerdown', event => {
  const face = event.target.closest('svg');
  if (!face) return;
  face.setPointerCapture(event.pointerId);
  point(event);
});
element.addEventListener('pointermove', event => {
  if (event.buttons && event.target.closest('svg')) point(event);
});
element.addEventListener('keydown', event => {
  const steps = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1};
  if (!(event.key in steps)) return;
  event.preventDefault();
  go(props.value + steps[event.key] * Math.PI / 36);
});
""".strip()
