// What bounds the step: the chain of units that takes longest, and the values without which the peak would be lower.

const critical = report.critical, onPath = new Set(critical.units), REMOVALS = 4;

function humanTime(nanoseconds) {
  for (const unit of ["ns", "µs", "ms"]) {
    if (nanoseconds < 1000) return `${Number(nanoseconds.toPrecision(3))} ${unit}`;
    nanoseconds /= 1000;
  }
  return `${nanoseconds.toFixed(2)} s`;
}

function tellCritical(list) {
  if (critical.units.length) {
    const times = `${humanTime(critical.nanoseconds)} of ${humanTime(critical.all_nanoseconds)} predicted on ${figures.timed_on}`;
    pair(list, "critical path", `${times}, in ${critical.units.length.toLocaleString("en")} units, framed in the graph`);
  }
  for (const removal of report.removals.slice(0, REMOVALS)) {
    const first = removal.values[0], times = removal.values.length > 1 ? ` ×${removal.values.length}` : "";
    const scope = textOf(values.scope, first), again = removal.recompute_nanoseconds;
    const price = again === null ? "" : `; ${humanTime(again)} to recompute`;
    pair(list, `without ${textOf(values.name, first)}${times}`, `a peak of ${human(removal.peak_bytes)}${price}${scope ? " · " + scope : ""}`);
  }
}

// Frames around the units of the critical path.
function frameCritical(context, scale) {
  const framed = new Set();
  for (const u of critical.units) {
    const key = `${rowOfUnit[u]} ${columnOf(scale, u)}`;
    if (!framed.has(key)) outline(context, scale, u, style.line, 1.4);
    framed.add(key);
  }
}
