// The step over time: live bytes in stacked bands, and the budget.

const memoryTop = outerLoops.length ? 38 : 20, memoryFoot = 24, MEMORY_HEAD = 20;
let bands = null;

// One band for each layer, or each kind of value.
function makeBands() {
  const byKind = state.colours === "kind";
  const count = byKind ? report.kinds.length : chartGroups.names.length;
  const of = new Int32Array(valueCount), members = Array.from({ length: count }, () => []);
  const live = Array.from({ length: count }, () => new Float64Array(phaseCount + 1));
  for (let i = 0; i < valueCount; i++) {
    const band = byKind ? values.kind[i] : chartGroups.of(textOf(values.scope, i));
    of[i] = band;
    members[band].push(i);
    live[band][values.first[i]] += values.bytes[i];
    live[band][values.end[i]] -= values.bytes[i];
  }
  for (const line of live) for (let p = 1; p <= phaseCount; p++) line[p] += line[p - 1];
  for (const list of members) list.sort((a, b) => values.first[a] - values.first[b] || a - b);
  bands = { of, members, live, count };
}

const bandColour = (band) => state.colours === "kind" ? kindColour(band) : groupColour(band);
const colourOfValue = (i) => state.colours === "kind" ? kindColour(values.kind[i]) : layerColour(textOf(values.scope, i));
const groundBytes = () => state.whole ? heldBytes : 0;

function memoryScale(view) {
  const top = memoryTop, bottom = view.height - memoryFoot, ground = groundBytes();
  let most = ground + figures.arena_bytes;
  const budget = figures.budget_bytes === null ? null : figures.budget_bytes - heldBytes + ground;
  if (budget !== null && budget <= 1.6 * most) most = Math.max(most, budget);
  // Above it is room for the words of a budget, below those of the cursor.
  most *= (bottom - top) / Math.max(bottom - top - MEMORY_HEAD, 1);
  return { top, bottom, most, budget, ground, y: (bytes) => bottom - bytes / (most || 1) * (bottom - top) };
}

// The phases that are drawn: each, or where they are finer than the screen the fullest of each column.
function memoryColumns(view) {
  const from = Math.floor(time.from), to = Math.min(Math.ceil(time.to), phaseCount), columns = [];
  if (to - from <= timeWidth(view)) {
    for (let p = from; p < to; p++) columns.push([Math.max(xOf(view, p), time.left), Math.min(xOf(view, p + 1), view.width - time.right), p]);
    return columns;
  }
  for (let x = 0; x < timeWidth(view); x++) {
    const first = phaseAt(view, time.left + x), last = Math.max(phaseAt(view, time.left + x + 1), first + 1);
    let best = first;
    for (let p = first; p < last && p < phaseCount; p++) if (liveBytes[p] > liveBytes[best]) best = p;
    columns.push([time.left + x, time.left + x + 1, best]);
  }
  return columns;
}

function drawMemory(context) {
  const view = memoryView, scale = memoryScale(view), columns = memoryColumns(view);
  drawByteAxis(context, view, scale.top, scale.bottom, scale.most, scale.y);
  if (scale.ground) {
    context.fillStyle = style.held;
    context.fillRect(time.left, scale.y(scale.ground), timeWidth(view), scale.bottom - scale.y(scale.ground));
  }
  const height = new Float64Array(columns.length).fill(scale.ground);
  for (let band = 0; band < bands.count; band++) {
    const line = bands.live[band];
    if (!columns.some(([, , p]) => line[p] > 0)) continue;
    context.beginPath();
    for (let k = 0; k < columns.length; k++) { const y = scale.y(height[k]); context.lineTo(columns[k][0], y); context.lineTo(columns[k][1], y); }
    for (let k = columns.length - 1; k >= 0; k--) {
      height[k] += line[columns[k][2]];
      const y = scale.y(height[k]);
      context.lineTo(columns[k][1], y); context.lineTo(columns[k][0], y);
    }
    context.fillStyle = context.strokeStyle = bandColour(band);
    context.fill();
  }
  drawTimeAxis(context, view, scale.bottom);
  drawLoops(context, view, 9);
}

// The total and the budget, over all that is lit or not. A budget that was met lies on the total or above it, and so do
// its words.
function drawBounds(context, view, scale) {
  const ground = scale.y(scale.ground);
  if (scale.ground && scale.bottom - ground > 14) drawWords(context, `parameters, state and constants · ${human(heldBytes)}`, (ground + scale.bottom) / 2, style.soft, style.held);
  drawLine(context, view, scale.y(scale.ground + figures.arena_bytes), style.soft, [2, 3], `${state.whole ? "total" : "arena"} ${human(scale.ground + figures.arena_bytes)}`, 9);
  if (scale.budget === null) return;
  const fits = scale.budget <= scale.most, y = fits ? scale.y(scale.budget) : scale.top + MEMORY_HEAD - 2;
  drawLine(context, view, y, style.line, [6, 3], `budget ${human(figures.budget_bytes)}${state.whole ? "" : `, of it ${human(scale.budget)} for the arena`}${fits ? "" : " ↑"}`, -9);
}

function drawLine(context, view, y, colour, dashes, words, shift) {
  context.strokeStyle = colour; context.lineWidth = 1.2;
  context.setLineDash(dashes);
  context.beginPath(); context.moveTo(time.left, y); context.lineTo(view.width - time.right, y); context.stroke();
  context.setLineDash([]);
  const plain = context.font;
  context.font = `600 ${plain}`;
  drawWords(context, words, y + shift, colour, style.card);
  context.font = plain;
}

// Words that can be read on any ground.
function drawWords(context, words, y, colour, halo) {
  context.textAlign = "left"; context.lineJoin = "round";
  context.strokeStyle = halo; context.lineWidth = 3.5;
  context.strokeText(words, time.left + 8, y);
  context.fillStyle = colour;
  context.fillText(words, time.left + 8, y);
}

// How high a value lies in its column in each phase of its life.
function floorOf(value) {
  const first = values.first[value], end = values.end[value], band = bands.of[value];
  const floor = new Float64Array(end - first + 1);
  for (let below = 0; below < band; below++) { const line = bands.live[below]; for (let p = first; p < end; p++) floor[p - first] += line[p]; }
  for (const other of bands.members[band]) {
    if (other === value) break;
    const a = Math.max(values.first[other], first), b = Math.min(values.end[other], end);
    for (let p = a; p < b; p++) floor[p - first] += values.bytes[other];
  }
  return floor;
}

const MOST_SLIVERS = 80;
function drawMemoryOver(context) {
  const view = memoryView, scale = memoryScale(view), chosen = chosenValues();
  if (chosen.length) {
    context.fillStyle = style.card; context.globalAlpha = 0.5;
    context.fillRect(time.left, scale.top, timeWidth(view), scale.bottom - scale.top);
    context.globalAlpha = 1;
  }
  const columns = chosen.length ? memoryColumns(view) : [];
  for (const value of chosen.slice(0, MOST_SLIVERS)) {
    const floor = floorOf(value), first = values.first[value];
    context.fillStyle = colourOfValue(value); context.strokeStyle = style.glow;
    const life = columns.filter(([, , p]) => p >= first && p < values.end[value]);
    if (!life.length) continue;
    context.beginPath();
    for (const [x0, x1, p] of life) { const y = scale.y(scale.ground + floor[p - first]); context.lineTo(x0, y); context.lineTo(x1, y); }
    for (const [x0, x1, p] of life.reverse()) { const y = scale.y(scale.ground + floor[p - first] + values.bytes[value]); context.lineTo(x1, y); context.lineTo(x0, y); }
    context.closePath(); context.fill();
    context.lineWidth = chosen.length > 1 ? 0.4 : 1.1; context.stroke();
  }
  drawBounds(context, view, scale);
  drawPhaseCursor(context, view, scale.top, scale.bottom, true);
}

function pickMemory(x, y) {
  const scale = memoryScale(memoryView), phase = phaseAt(memoryView, x);
  let left = (scale.bottom - y) / (scale.bottom - scale.top) * scale.most - scale.ground;
  if (x < time.left || left < 0) return { phase, value: null };
  for (let band = 0; band < bands.count; band++) {
    if (left >= bands.live[band][phase]) { left -= bands.live[band][phase]; continue; }
    for (const i of bands.members[band]) {
      if (values.first[i] > phase || phase >= values.end[i]) continue;
      if (left < values.bytes[i]) return { phase, value: i };
      left -= values.bytes[i];
    }
  }
  return { phase, value: null };
}
