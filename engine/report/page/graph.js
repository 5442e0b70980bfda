// The graph as a U: forward down the left, backward up the right, kept values between.

const LEAST_ROW = 15, MOST_ROW = 52, graphTop = 26, graphFoot = 46;
let rows = [], rowOfUnit = new Int32Array(unitCount), rungs = [], focusedRow = 0;

function makeRows() {
  rows = [];
  const add = (row) => { for (const u of row.units) rowOfUnit[u] = rows.length; rows.push(row); };
  const walk = (node) => {
    for (const child of node.children) {
      if (!child.open) { add({ layer: child, depth: child.depth, units: child.all, head: false }); continue; }
      add({ layer: child, depth: child.depth, units: [], head: true });
      if (child.children.length) walk(child); else unitRows(child).forEach(add);
    }
  };
  walk(root);
  for (const row of rows) {
    row.forward = row.units.filter((u) => roleOf(u) === "forward");
    row.backward = row.units.filter((u) => roleOf(u) === "backward" || roleOf(u) === "recompute");
    row.update = row.units.filter((u) => roleOf(u) === "optimizer");
  }
  rungs = makeRungs();
  focusedRow = clamp(focusedRow, 0, Math.max(rows.length - 1, 0));
}

// The units of an open layer: forward ones downwards, those of the backward beside them upwards.
function unitRows(layer) {
  const left = layer.units.filter((u) => roleOf(u) === "forward");
  const right = layer.units.filter((u) => roleOf(u) === "backward" || roleOf(u) === "recompute").reverse();
  const update = layer.units.filter((u) => roleOf(u) === "optimizer");
  return Array.from({ length: Math.max(left.length, right.length, update.length) }, (_, k) => ({
    layer, depth: layer.depth + 1, head: false, single: true, units: [left[k], right[k], update[k]].filter((u) => u !== undefined),
  }));
}

// What goes across: kept values, recomputed values (to where the first of them was), gradients to the update.
function makeRungs() {
  const found = new Map();
  const originals = new Map(), lastBackward = new Map();
  for (let u = 0; u < unitCount; u++) {
    if (roleOf(u) === "backward") lastBackward.set(units.scope[u], u);
    if (roleOf(u) !== "forward") continue;
    if (!originals.has(units.scope[u])) originals.set(units.scope[u], []);
    originals.get(units.scope[u]).push(u);
  }
  const join = (kind, from, to, value) => {
    const key = `${kind} ${from} ${to}`;
    const rung = found.get(key) ?? { kind, from, to, bytes: 0, members: [] };
    rung.bytes += values.bytes[value];
    rung.members.push(value);
    found.set(key, rung);
  };
  for (let i = 0; i < valueCount; i++) {
    const maker = values.made_by[i], readers = values.read_by[i];
    if (values.kind[i] === KIND.activation) {
      const last = [...readers].reverse().find((u) => roleOf(u) !== "forward");
      if (last !== undefined) join(roleOf(maker) === "forward" ? "kept" : "late", rowOfUnit[maker], rowOfUnit[last], i);
    } else if (values.kind[i] === KIND.recomputed) {
      const first = (originals.get(values.scope[i]) ?? []).find((u) => units.name[u] === units.name[maker]) ?? originals.get(values.scope[i])?.[0];
      if (first !== undefined) join("again", rowOfUnit[first], rowOfUnit[maker], i);
    } else if (values.kind[i] === KIND.gradient) {
      const last = [...readers].reverse().find((u) => roleOf(u) === "optimizer");
      // The sum that a loop makes of a gradient comes from where its parts are made, if that is known.
      const from = lastBackward.get(values.scope[i]) ?? (textOf(units.name, maker).startsWith("loop ") ? undefined : maker);
      if (last !== undefined && from !== undefined) join("gradient", rowOfUnit[from], rowOfUnit[last], i);
    }
  }
  return [...found.values()].sort((a, b) => b.bytes - a.bytes);
}

function graphScale() {
  const view = graphView, height = view.height - graphTop - graphFoot;
  const row = clamp(height / Math.max(rows.length, 1), LEAST_ROW, MOST_ROW);
  const labels = clamp(view.width * 0.36, 110, 215), update = view.width - 30, right = update - Math.max(62, view.width * 0.12);
  const most = Math.max(rows.length * row - height, 0);
  graphScroll = clamp(graphScroll, 0, most);
  return { row, labels, left: labels + 32, right, update, most, box: 44, y: (r) => graphTop + (r + 0.5) * row - graphScroll };
}

let graphScroll = 0;

// Widths of the rungs, and where on its box each begins and ends: one beside the other, as wide as its bytes.
function layRungs(scale) {
  const drawn = rungs.filter((rung) => rung.kind === "kept");
  const sums = new Map();
  for (const { from, to, bytes } of drawn) for (const end of [`l${from}`, `r${to}`]) sums.set(end, (sums.get(end) ?? 0) + bytes);
  const per = (scale.row * 0.68) / Math.max(1, ...sums.values());
  const used = new Map();
  for (const rung of [...drawn].sort((a, b) => (a.from - b.from) || (a.to - b.to))) {
    rung.width = rung.bytes * per;
    for (const [end, at] of [[`l${rung.from}`, "from"], [`r${rung.to}`, "to"]]) {
      const start = used.get(end) ?? -sums.get(end) * per / 2;
      rung[at + "Shift"] = start + rung.width / 2;
      used.set(end, start + rung.width);
    }
  }
  return per;
}

function rungPath(context, scale, rung) {
  const x0 = scale.left + scale.box / 2, x1 = scale.right - scale.box / 2, middle = (x0 + x1) / 2;
  const y0 = scale.y(rung.from) + (rung.fromShift ?? 0), y1 = scale.y(rung.to) + (rung.toShift ?? 0);
  context.beginPath(); context.moveTo(x0, y0); context.bezierCurveTo(middle, y0, middle, y1, x1, y1);
}

const rungSeen = (scale, rung) => Math.max(scale.y(rung.from), scale.y(rung.to)) > 0 && Math.min(scale.y(rung.from), scale.y(rung.to)) < graphView.height;
const rungColour = (rung) => state.colours === "kind" ? kindColour(rung.kind === "again" ? KIND.recomputed : rung.kind === "gradient" ? KIND.gradient : KIND.activation) : rowColour(rows[rung.from]);

function strokeRung(context, scale, rung) {
  if (rung.kind === "gradient") {
    context.beginPath(); context.moveTo(scale.right + scale.box / 2, scale.y(rung.from)); context.lineTo(scale.update - 7, scale.y(rung.to));
    context.lineWidth = 1; context.stroke();
    return;
  }
  context.setLineDash(rung.kind === "again" ? [5, 4] : []);
  context.lineWidth = rung.kind === "kept" ? Math.max(rung.width, 0.8) : 1.6;
  rungPath(context, scale, rung);
  context.stroke();
  context.setLineDash([]);
}

function drawGraph(context) {
  const view = graphView, scale = graphScale();
  layRungs(scale);
  drawTrack(context, scale);
  context.save();
  context.beginPath(); context.rect(0, graphTop - 4, view.width, view.height - graphTop + 4); context.clip();
  for (const rung of rungs) {
    if (rung.kind === "late" || !rungSeen(scale, rung)) continue;
    context.strokeStyle = rungColour(rung);
    context.globalAlpha = rung.kind === "kept" ? 0.62 : 0.9;
    strokeRung(context, scale, rung);
  }
  context.globalAlpha = 1;
  rows.forEach((row, r) => { const y = scale.y(r); if (y > -20 && y < view.height + 20) drawRow(context, scale, row, r, y); });
  frameCritical(context, scale);
  context.restore();
  context.textAlign = "center"; context.fillStyle = style.soft;
  context.fillText("forward", scale.left, 12); context.fillText("backward", scale.right, 12);
  context.fillText("update", scale.update, 12);
  if (scale.most) {
    const h = view.height - 8, length = Math.max(h * view.height / (view.height + scale.most), 24);
    context.fillStyle = style.rule;
    context.beginPath(); context.roundRect(view.width - 4, 4 + (h - length) * graphScroll / scale.most, 4, length, 2); context.fill();
  }
}

// The U itself: where the step goes along.
function drawTrack(context, scale) {
  const bottom = scale.y(rows.length - 1) + scale.row / 2 + 2, round = 30;
  context.strokeStyle = style.track; context.lineWidth = 13; context.lineCap = "round"; context.lineJoin = "round";
  context.beginPath(); context.moveTo(scale.left, graphTop - 2);
  context.lineTo(scale.left, bottom);
  context.bezierCurveTo(scale.left, bottom + round, scale.left + 20, bottom + round, scale.left + 46, bottom + round);
  context.lineTo(scale.right - 46, bottom + round);
  context.bezierCurveTo(scale.right - 20, bottom + round, scale.right, bottom + round, scale.right, bottom);
  context.lineTo(scale.right, graphTop - 2); context.stroke();
  context.lineCap = "butt";
  context.fillStyle = style.soft; context.textAlign = "center";
  context.fillText("loss", (scale.left + scale.right) / 2, bottom + round);
}

const rowColour = (row) => treeColour(row.layer);

function layerTitle(row) {
  if (row.single) return row.units.map((u) => textOf(units.name, u))[0];
  return row.layer.name + (row.layer.repeat ? `  ×${row.layer.repeat}` : "");
}

function drawRow(context, scale, row, r, y) {
  const indent = 6 + row.depth * 11, openable = !row.single && (row.layer.children.length || row.layer.units.length);
  if (openable) {
    context.fillStyle = style.faint;
    context.beginPath();
    if (row.layer.open) { context.moveTo(indent, y - 2.5); context.lineTo(indent + 7, y - 2.5); context.lineTo(indent + 3.5, y + 3); }
    else { context.moveTo(indent + 1, y - 3.5); context.lineTo(indent + 6, y); context.lineTo(indent + 1, y + 3.5); }
    context.fill();
  }
  context.textAlign = "left"; context.fillStyle = row.single || row.head ? style.soft : style.ink;
  context.fillText(shortened(context, layerTitle(row), scale.labels - indent - 14), indent + 12, y + 0.5);
  const colour = rowColour(row);
  const box = (x, members, width) => {
    if (!members.length) return;
    const h = Math.max(scale.row * (row.single ? 0.55 : 0.68), 7), w = row.single ? width * 0.6 : width;
    context.fillStyle = state.colours === "kind" ? roleColour(roleOf(members[members.length >> 1])) : colour;
    context.strokeStyle = style.card; context.lineWidth = 1.5;
    context.beginPath(); context.roundRect(x - w / 2, y - h / 2, w, h, Math.min(5, h / 2)); context.fill(); context.stroke();
    if (!row.single && members.length > 1 && h > 11 && width > 20) {
      context.fillStyle = oklch(0.2, 0.02, 90); context.textAlign = "center";
      context.fillText(String(members.length), x, y + 0.5);
    }
  };
  box(scale.left, row.forward, scale.box);
  box(scale.right, row.backward, scale.box);
  box(scale.update, row.update, 15);
}

function drawGraphOver(context) {
  const view = graphView, scale = graphScale(), chosen = chosenValues();
  context.save();
  context.beginPath(); context.rect(0, graphTop - 4, view.width, view.height); context.clip();
  const now = state.phase === null ? new Set() : new Set(unitsIn(state.phase));
  for (const u of now) outline(context, scale, u, style.faint, 1.2);
  if (document.activeElement === view.element && rows.length) {
    context.fillStyle = style.ink; context.globalAlpha = 0.06;
    context.fillRect(0, scale.y(focusedRow) - scale.row / 2, view.width, scale.row);
    context.globalAlpha = 1;
  }
  if (chosen.length) {
    const wanted = new Set(chosen), one = chosen.length === 1;
    for (const rung of rungs) {
      if (rung.kind === "late" || !rung.members.some((i) => wanted.has(i))) continue;
      context.strokeStyle = style.glow;
      strokeRung(context, scale, rung);
      if (rung.kind === "kept" && rung.width > 3) { context.strokeStyle = rungColour(rung); context.lineWidth = rung.width - 2.4; rungPath(context, scale, rung); context.stroke(); }
    }
    for (const i of chosen.slice(0, 400)) {
      outline(context, scale, values.made_by[i], style.glow, 2);
      if (one) for (const u of values.read_by[i]) { outline(context, scale, u, style.glow, 1.3); }
    }
    if (one) drawReaders(context, scale, chosen[0]);
  }
  context.restore();
}

const unitsByPhase = (() => {
  const lists = Array.from({ length: phaseCount }, () => []);
  for (let u = 0; u < unitCount; u++) lists[units.phase[u]].push(u);
  return lists;
})();
const unitsIn = (phase) => unitsByPhase[phase] ?? [];
const columnOf = (scale, u) => ({ forward: scale.left, optimizer: scale.update })[roleOf(u)] ?? scale.right;

function outline(context, scale, u, colour, width) {
  if (u === undefined || u >= unitCount) return;
  const row = rows[rowOfUnit[u]], y = scale.y(rowOfUnit[u]), x = columnOf(scale, u);
  const h = Math.max(scale.row * (row.single ? 0.55 : 0.68), 7) + 2, w = (x === scale.update ? 15 : scale.box) * (row.single ? 0.6 : 1) + 2;
  context.strokeStyle = colour; context.lineWidth = width;
  context.beginPath(); context.roundRect(x - w / 2, y - h / 2, w, h, 5); context.stroke();
}

// Thin lines from where a value is made to all that read it.
function drawReaders(context, scale, value) {
  const maker = values.made_by[value], x0 = columnOf(scale, maker), y0 = scale.y(rowOfUnit[maker]);
  context.strokeStyle = style.glow; context.lineWidth = 1; context.globalAlpha = 0.8;
  for (const u of values.read_by[value]) {
    const x1 = columnOf(scale, u), y1 = scale.y(rowOfUnit[u]);
    if (x0 === x1 && y0 === y1) continue;
    context.beginPath(); context.moveTo(x0, y0);
    const bow = x0 === x1 ? 34 : 0;
    context.bezierCurveTo((x0 + x1) / 2 + bow, y0, (x0 + x1) / 2 + bow, y1, x1, y1);
    context.stroke();
    context.fillStyle = style.glow;
    context.beginPath(); context.arc(x1, y1, 2.5, 0, 7); context.fill();
  }
  context.globalAlpha = 1;
}

// What is at a point: a layer's name, a box of units, or a rung.
function pickGraph(x, y) {
  const scale = graphScale(), r = Math.floor((y - graphTop + graphScroll) / scale.row), row = rows[r];
  if (row && y > graphTop - 2) {
    for (const [at, members, width] of [[scale.left, row.forward, scale.box], [scale.right, row.backward, scale.box], [scale.update, row.update, 18]]) {
      if (members.length && Math.abs(x - at) < width / 2) return { members: members.flatMap((u) => madeBy[u]), units: members, row: r };
    }
    if (x < scale.labels) return { members: row.units.flatMap((u) => madeBy[u]).concat(row.head ? row.layer.all.flatMap((u) => madeBy[u]) : []), units: row.head ? row.layer.all : row.units, row: r, label: true };
  }
  const x0 = scale.left + scale.box / 2, x1 = scale.right - scale.box / 2;
  if (x > x0 && x < x1) {
    const t = bezierTime((x - x0) / (x1 - x0)), share = t * t * (3 - 2 * t);
    let best = null, least = 4;
    for (const rung of rungs) {
      if (rung.kind === "late" || rung.kind === "gradient" || !rungSeen(scale, rung)) continue;
      const y0 = scale.y(rung.from) + (rung.fromShift ?? 0), y1 = scale.y(rung.to) + (rung.toShift ?? 0);
      const away = Math.abs(y - (y0 + share * (y1 - y0))) - (rung.width ?? 1) / 2;
      if (away < least) { least = away; best = rung; }
    }
    if (best) return { members: best.members, units: [], row: null, rung: best };
  }
  return null;
}

// The parameter at which a curve with its handles in the middle is at the share `x` of its way.
function bezierTime(x) {
  let low = 0, high = 1;
  for (let k = 0; k < 20; k++) {
    const t = (low + high) / 2, at = 1.5 * t * (1 - t) * (1 - t) + 1.5 * t * t * (1 - t) + t * t * t;
    if (at < x) low = t; else high = t;
  }
  return (low + high) / 2;
}

function toggleRow(r) {
  const row = rows[r];
  if (!row || row.single) return;
  row.layer.open = !row.layer.open;
  makeRows();
  graphView.stale = true;
  redraw();
}

function openMore(further) {
  if (further) {
    const closed = rows.filter((row) => !row.layer.open && !row.single && row.layer.children.length);
    const least = Math.min(...closed.map((row) => row.depth));
    for (const row of closed) if (row.depth === least || row.layer.repeat) row.layer.open = true;
  } else {
    const open = visibleLayers().filter((node) => node.open), deepest = Math.max(...open.map((node) => node.depth));
    for (const node of open) if (node.depth === deepest) node.open = false;
  }
  makeRows();
  graphView.stale = true;
  redraw();
}

function showRow(r) {
  const scale = graphScale(), y = scale.y(r);
  if (y < graphTop + scale.row) graphScroll -= graphTop + scale.row - y;
  else if (y > graphView.height - graphFoot) graphScroll += y - graphView.height + graphFoot;
  else return;
  graphView.stale = true;
}
