// A view: one canvas that is drawn seldom, and one over it that follows the cursor.

class View {
  constructor(element, drawBase, drawOver) {
    this.element = element;
    this.base = document.createElement("canvas");
    this.over = document.createElement("canvas");
    this.over.className = "over";
    element.append(this.base, this.over);
    this.drawBase = drawBase;
    this.drawOver = drawOver;
    this.stale = true;
    new ResizeObserver(() => { this.stale = true; this.draw(); }).observe(element);
  }

  draw() {
    const { width, height } = this.element.getBoundingClientRect();
    if (width < 20 || height < 20) return;
    this.width = width; this.height = height;
    if (this.stale) { this.drawBase(this.fresh(this.base)); this.stale = false; }
    this.drawOver(this.fresh(this.over));
  }

  fresh(canvas) {
    const ratio = window.devicePixelRatio || 1, w = Math.round(this.width * ratio), h = Math.round(this.height * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
    return context;
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
}

const views = [];
let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; for (const view of views) view.draw(); });
}
function redrawAll() { for (const view of views) view.stale = true; redraw(); }

// The time axis that the two charts share: phases from `from` to `to`.
const time = { from: 0, to: phaseCount, left: 66, right: 10 };
const timeWidth = (view) => view.width - time.left - time.right;
const xOf = (view, phase) => time.left + (phase - time.from) / (time.to - time.from) * timeWidth(view);
const phaseAt = (view, x) => clamp(Math.floor(time.from + (x - time.left) / timeWidth(view) * (time.to - time.from)), 0, phaseCount - 1);

function zoomTime(factor, around) {
  const length = clamp((time.to - time.from) * factor, Math.min(4, phaseCount), phaseCount);
  const share = (around - time.from) / (time.to - time.from);
  moveTime(around - share * length, length);
}
function moveTime(from, length) {
  time.from = clamp(from, 0, phaseCount - length);
  time.to = time.from + length;
  redrawAll();
}

function niceStep(range, count) {
  const rough = range / count, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((step) => step >= rough);
}

function drawByteAxis(context, view, top, bottom, most, yOf) {
  const step = niceStep(most || 1, Math.max(2, (bottom - top) / 42));
  context.textAlign = "right";
  for (let n = 0; n <= most; n += step) {
    const y = Math.round(yOf(n)) + 0.5;
    context.strokeStyle = style.rule; context.lineWidth = 1;
    context.beginPath(); context.moveTo(time.left, y); context.lineTo(view.width - time.right, y); context.stroke();
    context.fillStyle = style.soft;
    context.fillText(n ? human(n) : "0", time.left - 8, y);
  }
}

function drawTimeAxis(context, view, y) {
  const spans = new Map();
  for (let p = Math.floor(time.from); p < time.to; ) {
    let end = p + 1;
    const role = phaseRole[p];
    while (end < time.to && phaseRole[end] === role) end++;
    const x0 = Math.max(xOf(view, p), time.left), x1 = Math.min(xOf(view, end), view.width - time.right);
    context.fillStyle = roleColour(role);
    context.fillRect(x0, y + 3, Math.max(x1 - x0 - (x1 - x0 > 3 ? 0.5 : 0), 0.5), 4);
    const span = spans.get(role) ?? { middle: 0, length: 0 };
    span.middle += (x0 + x1) / 2 * (x1 - x0); span.length += x1 - x0;
    spans.set(role, span);
    p = end;
  }
  context.fillStyle = style.soft; context.textAlign = "center";
  for (const role of ["forward", "backward"]) {
    const span = spans.get(role);
    if (span && span.length > 60) context.fillText(role, span.middle / span.length, y + 15);
  }
}

// Above the phases of one iteration of a loop, how often they run.
function drawLoops(context, view, y) {
  context.textAlign = "center";
  for (const [first, end, length, lanes, over] of outerLoops) {
    const x0 = Math.max(xOf(view, first), time.left), x1 = Math.min(xOf(view, end), view.width - time.right);
    if (x1 - x0 < 24) continue;
    context.strokeStyle = context.fillStyle = style.faint; context.lineWidth = 1;
    context.beginPath(); context.moveTo(x0 + 0.5, y + 5); context.lineTo(x0 + 0.5, y); context.lineTo(x1 - 0.5, y); context.lineTo(x1 - 0.5, y + 5); context.stroke();
    const side = lanes > 1 ? `, ${lanes} concurrently` : "";
    const words = [`one of ${length} ${over}${over === "iterations" ? " of a loop" : ""}${side}`, `×${length}`].find((some) => context.measureText(some).width + 12 <= x1 - x0);
    if (!words) continue;
    const width = context.measureText(words).width + 12;
    context.fillStyle = style.card; context.fillRect((x0 + x1 - width) / 2, y - 6, width, 12);
    context.fillStyle = style.soft; context.fillText(words, (x0 + x1) / 2, y);
  }
}

function drawPhaseCursor(context, view, top, bottom, tag) {
  if (state.phase === null || state.phase < Math.floor(time.from) || state.phase >= time.to) return;
  const x = (xOf(view, state.phase) + xOf(view, state.phase + 1)) / 2;
  context.strokeStyle = style.cursor; context.lineWidth = 1; context.globalAlpha = 0.55;
  context.beginPath(); context.moveTo(x, top); context.lineTo(x, bottom); context.stroke();
  context.globalAlpha = 1;
  if (!tag) return;
  const word = `phase ${state.phase} · ${human(liveBytes[state.phase])} live`, width = context.measureText(word).width + 12;
  const left = clamp(x - width / 2, time.left, view.width - time.right - width);
  context.fillStyle = style.ink;
  context.beginPath(); context.roundRect(left, top - 17, width, 16, 4); context.fill();
  context.fillStyle = style.card; context.textAlign = "center";
  context.fillText(word, left + width / 2, top - 8.5);
}

function shortened(context, words, width) {
  if (context.measureText(words).width <= width) return words;
  let low = 0, high = words.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(words.slice(0, middle) + "…").width <= width) low = middle; else high = middle - 1;
  }
  return low ? words.slice(0, low) + "…" : "";
}
