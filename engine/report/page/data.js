// The report, as it was written into the page.

const report = JSON.parse(document.getElementById("data").textContent);
const figures = report.figures;
const units = report.units, values = report.values;
const unitCount = units.phase.length, valueCount = values.bytes.length, phaseCount = Math.max(figures.phases, 1);
const heldBytes = figures.parameter_bytes + figures.state_bytes + figures.constant_bytes;
const textOf = (column, i) => report.texts[column[i]];
const roleOf = (unit) => report.texts[units.role[unit]];
const KIND = Object.fromEntries(report.kinds.map(([name], i) => [name, i]));

function human(bytes) {
  let size = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(size) < 1000) return unit === "B" ? `${Math.round(size)} B` : `${size.toPrecision(size < 10 ? 3 : size < 100 ? 4 : 5).replace(/(\.\d\d)\d+$/, "$1")} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(2)} TB`;
}

function humanFlops(flops) {
  let count = flops;
  for (const unit of ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"]) {
    if (count < 1000) return `${+count.toPrecision(4)} ${unit}`;
    count /= 1000;
  }
  return `${+count.toPrecision(4)} PFLOP`;
}

function clamp(x, low, high) { return Math.max(low, Math.min(high, x)); }

// The values whose bytes are live in a phase.
function liveAt(phase) {
  const found = [];
  for (let i = 0; i < valueCount; i++) if (values.first[i] <= phase && phase < values.end[i]) found.push(i);
  return found;
}

const liveBytes = (() => {
  const live = new Float64Array(phaseCount + 1);
  for (let i = 0; i < valueCount; i++) { live[values.first[i]] += values.bytes[i]; live[values.end[i]] -= values.bytes[i]; }
  for (let p = 1; p <= phaseCount; p++) live[p] += live[p - 1];
  return live;
})();

// The role that does the most in each phase, for the strip below the charts.
const phaseRole = (() => {
  const most = new Float64Array(phaseCount).fill(-1), role = new Array(phaseCount).fill("forward");
  for (let u = 0; u < unitCount; u++) if (units.flops[u] > most[units.phase[u]]) { most[units.phase[u]] = units.flops[u]; role[units.phase[u]] = roleOf(u); }
  return role;
})();

const madeBy = (() => {
  const made = Array.from({ length: unitCount }, () => []);
  for (let i = 0; i < valueCount; i++) made[values.made_by[i]]?.push(i);
  return made;
})();

// Loops in loops of the same phases count as one: the iterations of all, and those that run concurrently.
const outerLoops = (() => {
  const found = [];
  for (const [first, end, length, lanes, over] of report.loops) {
    const around = found.find((loop) => loop[0] <= first && end <= loop[1]);
    if (!around) found.push([first, end, length, lanes, over]);
    else if (end - first >= around[1] - around[0] - 2) { around[2] *= length; }
  }
  return found;
})();
