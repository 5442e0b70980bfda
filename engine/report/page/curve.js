// Predicted and measured time of a step against its memory.

function drawCurve(context) {
  const view = curveView, points = report.curve;
  const left = 66, right = 24, top = 14, bottom = view.height - 34;
  const sizes = points.map((p) => p.total_bytes), slow = points.flatMap((p) => [p.slowdown, ...(p.measured ? [p.measured] : [])]);
  const span = Math.max(...sizes) - Math.min(...sizes) || 1, high = Math.max(...sizes);
  // A point alone stands in the middle.
  const low = sizes.every((size) => size === high) ? high - span / 2 : high - span, worst = Math.max(1.05, ...slow) * 1.02, best = Math.min(1, ...slow) * 0.99;
  const x = (bytes) => left + 8 + (bytes - low) / span * (view.width - left - right - 16);
  const y = (factor) => bottom - (factor - best) / (worst - best) * (bottom - top);
  const step = niceStep(worst - best, 5);
  for (let f = Math.ceil(best / step) * step; f <= worst; f += step) {
    const at = Math.round(y(f)) + 0.5;
    context.strokeStyle = style.rule; context.lineWidth = 1;
    context.beginPath(); context.moveTo(left, at); context.lineTo(view.width - right, at); context.stroke();
    context.fillStyle = style.soft; context.textAlign = "right"; context.fillText(`${f.toFixed(2)}×`, left - 8, y(f));
  }
  const bytes = niceStep(span, Math.max(2, view.width / 130));
  context.textAlign = "center";
  for (let n = Math.ceil(low / bytes) * bytes; n <= high; n += bytes) context.fillText(human(n), x(n), bottom + 13);
  context.fillText("bytes of the whole step", (left + view.width - right) / 2, bottom + 27);
  const sorted = [...points].sort((a, b) => a.total_bytes - b.total_bytes);
  context.strokeStyle = kindColour(0); context.lineWidth = 2;
  context.beginPath();
  for (const p of sorted) context.lineTo(x(p.total_bytes), y(p.slowdown));
  context.stroke();
  for (const p of sorted) {
    context.fillStyle = style.card;
    context.beginPath(); context.arc(x(p.total_bytes), y(p.slowdown), 4, 0, 7); context.fill(); context.stroke();
    if (!p.measured) continue;
    context.fillStyle = kindColour(3);
    context.beginPath(); context.arc(x(p.total_bytes), y(p.measured), 4.5, 0, 7); context.fill();
  }
  context.textAlign = "left";
  const keys = [["planned", kindColour(0), true], ...(points.some((p) => p.measured) ? [["really run", kindColour(3), false]] : [])];
  context.fillStyle = style.card;
  context.fillRect(view.width - right - 100, top - 4, 100, 17 * keys.length + 2);
  keys.forEach(([word, colour, hollow], k) => {
    const at = view.width - right - 90, row = top + 6 + k * 17;
    context.beginPath(); context.arc(at, row, 4, 0, 7);
    context.fillStyle = hollow ? style.card : colour; context.strokeStyle = colour; context.fill(); context.stroke();
    context.fillStyle = style.soft; context.fillText(word, at + 11, row);
  });
}
