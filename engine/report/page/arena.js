// The arena as an address map: each value a rectangle of phases and bytes.

const arenaTop = 8, arenaFoot = 24;

function arenaScale(view) {
  const top = arenaTop, bottom = view.height - arenaFoot;
  return { top, bottom, y: (bytes) => bottom - bytes / (figures.arena_bytes || 1) * (bottom - top) };
}

function arenaBox(view, scale, i) {
  const x0 = Math.max(xOf(view, values.first[i]), time.left), x1 = Math.min(xOf(view, values.end[i]), view.width - time.right);
  const y1 = scale.y(values.offset[i]), y0 = scale.y(values.offset[i] + values.bytes[i]);
  return [x0, y0, x1 - x0, y1 - y0];
}

function drawArena(context) {
  const view = arenaView, scale = arenaScale(view);
  context.fillStyle = style.track;
  context.fillRect(time.left, scale.top, timeWidth(view), scale.bottom - scale.top);
  drawByteAxis(context, view, scale.top, scale.bottom, figures.arena_bytes, scale.y);
  for (let i = 0; i < valueCount; i++) {
    if (values.end[i] <= time.from || values.first[i] >= time.to) continue;
    const [x, y, w, h] = arenaBox(view, scale, i);
    context.fillStyle = colourOfValue(i);
    if (values.kind[i] === KIND.scratch) context.globalAlpha = 0.55;
    context.fillRect(x, y, Math.max(w, 0.7), Math.max(h, 0.5));
    context.globalAlpha = 1;
    if (w > 2.5 && h > 2.5) { context.strokeStyle = style.card; context.lineWidth = 0.6; context.strokeRect(x, y, w, h); }
    if (h > 13 && w > 30) {
      const scope = textOf(values.scope, i), name = textOf(values.name, i), whole = scope ? `${name} · ${scope}` : name;
      context.fillStyle = oklch(0.2, 0.02, 90); context.textAlign = "left";
      context.fillText(context.measureText(whole).width <= w - 10 ? whole : shortened(context, name, w - 10), x + 5, y + h / 2 + 0.5);
    }
  }
  drawTimeAxis(context, view, scale.bottom);
}

function drawArenaOver(context) {
  const view = arenaView, scale = arenaScale(view), chosen = chosenValues();
  if (chosen.length) {
    context.fillStyle = style.card; context.globalAlpha = 0.5;
    context.fillRect(time.left, scale.top, timeWidth(view), scale.bottom - scale.top);
    context.globalAlpha = 1;
  }
  context.save();
  context.beginPath(); context.rect(time.left, scale.top - 2, timeWidth(view), scale.bottom - scale.top + 4); context.clip();
  for (const i of chosen) {
    if (values.end[i] <= time.from || values.first[i] >= time.to) continue;
    const [x, y, w, h] = arenaBox(view, scale, i);
    context.fillStyle = colourOfValue(i);
    context.fillRect(x, y, Math.max(w, 1.5), Math.max(h, 1.5));
    context.strokeStyle = style.glow; context.lineWidth = chosen.length > 1 ? 0.6 : 1.4;
    if (chosen.length === 1 || h > 4) context.strokeRect(x, y, Math.max(w, 1.5), Math.max(h, 1.5));
  }
  context.restore();
  drawPhaseCursor(context, view, scale.top, scale.bottom, false);
}

function pickArena(x, y) {
  const view = arenaView, scale = arenaScale(view), phase = phaseAt(view, x);
  let found = null;
  if (x >= time.left) {
    for (let i = 0; i < valueCount; i++) {
      if (values.first[i] > phase || phase >= values.end[i]) continue;
      const [, top, , h] = arenaBox(view, scale, i);
      // Thin ones can be met too, and come before what lies around them.
      if (y >= top - 1 && y <= top + Math.max(h, 1) + 1 && (found === null || values.bytes[i] < values.bytes[found])) found = i;
    }
  }
  return { phase, value: found };
}
