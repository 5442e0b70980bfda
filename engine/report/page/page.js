// The state that all views share, what it says in words, and the events.

const state = { phase: null, value: null, group: null, held: false, found: null, colours: "layer", whole: true };
const byId = (id) => document.getElementById(id);

// What is lit: the value, or the group, or what the search found.
function chosenValues() {
  if (state.value !== null) return [state.value];
  if (state.group) return state.group.members;
  return state.found ?? [];
}

const memoryView = new View(byId("memory"), drawMemory, drawMemoryOver);
const arenaView = new View(byId("arena"), drawArena, drawArenaOver);
const graphView = new View(byId("graph"), drawGraph, drawGraphOver);
const curveView = report.curve.length ? new View(byId("curve"), drawCurve, () => {}) : null;
views.push(memoryView, arenaView, graphView, ...(curveView ? [curveView] : []));

const el = (tag, words = "", attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = words;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const swatch = (element, colour) => { element.style.setProperty("--swatch", colour); return element; };

function pair(list, term, ...words) {
  if (words.every((word) => word === "")) return;
  list.append(el("dt", term), el("dd", words.join("")));
}

function tell() {
  const story = byId("story");
  story.replaceChildren();
  if (state.value !== null) tellValue(story, state.value);
  else if (state.group) tellGroup(story, state.group);
  else if (state.phase !== null) tellPhase(story, state.phase);
  else {
    const heading = el("h3", `${human(figures.total_bytes)} for the whole step`);
    const live = liveAt(figures.peak_phase).sort((a, b) => values.bytes[b] - values.bytes[a]);
    story.append(heading, el("p", `The fullest moment is phase ${figures.peak_phase}, with ${human(liveBytes[figures.peak_phase])} live in ${live.length} values. Point at anything to see what it is, where it lies and why it is kept.`));
    const list = el("dl");
    pair(list, "units", `${unitCount.toLocaleString("en")} in ${phaseCount.toLocaleString("en")} phases`);
    pair(list, "values", valueCount.toLocaleString("en"));
    pair(list, "arena", `${figures.arena_bytes.toLocaleString("en")} bytes`);
    pair(list, "at least", `${figures.lower_bound_bytes.toLocaleString("en")} live at once`);
    pair(list, "planner", figures.planner);
    pair(list, "variant", figures.variant);
    tellCritical(list);
    story.append(list, el("p", figures.other_bits ? `It ${figures.other_bits}.` : ""));
  }
  tellLive();
}

function tellValue(story, i) {
  const heading = el("h3", `${textOf(values.name, i)} · ${human(values.bytes[i])}`);
  heading.append(el("span", textOf(values.type, i), { class: "type" }), swatch(el("span", report.kinds[values.kind[i]][1], { class: "chip" }), kindColour(values.kind[i])));
  const why = textOf(values.why, i), list = el("dl");
  pair(list, "layer", textOf(values.scope, i) || OUTSIDE);
  pair(list, "line", textOf(values.source, i));
  const last = Math.min(values.death[i], phaseCount - 1), length = last - values.birth[i] + 1;
  pair(list, "lives", `phases ${values.birth[i]}–${last} of ${phaseCount} (${Math.round(100 * length / phaseCount)}%)`);
  pair(list, "address", `${values.offset[i].toLocaleString("en")} to ${(values.offset[i] + values.bytes[i]).toLocaleString("en")}`);
  pair(list, "made by", `${textOf(units.name, values.made_by[i])}, ${roleOf(values.made_by[i])}, phase ${units.phase[values.made_by[i]]}`);
  const readers = values.read_by[i];
  const home = textOf(values.scope, i), away = (u) => { const scope = textOf(units.scope, u); return scope && scope !== home ? " of " + scope : ""; };
  pair(list, "read by", readers.slice(-2).reverse().map((u) => `${textOf(units.name, u)}${away(u)}, phase ${units.phase[u]}`).join("; ") + (readers.length > 2 ? `; ${readers.length - 2} more` : ""));
  story.append(heading, el("p", why[0].toUpperCase() + why.slice(1) + "."), list);
}

function tellGroup(story, group) {
  const bytes = group.members.reduce((sum, i) => sum + values.bytes[i], 0);
  if (group.units?.length === 1) {
    const u = group.units[0], heading = el("h3", textOf(units.name, u)), list = el("dl");
    heading.append(swatch(el("span", roleOf(u), { class: "chip" }), roleColour(roleOf(u))));
    pair(list, "layer", textOf(units.scope, u) || OUTSIDE);
    pair(list, "line", textOf(units.source, u));
    pair(list, "runs in", `phase ${units.phase[u]} of ${phaseCount}`);
    pair(list, "work", humanFlops(units.flops[u]) + (units.nanoseconds[u] ? `, ${humanTime(units.nanoseconds[u])} predicted${onPath.has(u) ? ", on the critical path" : ""}` : ""));
    pair(list, "makes", group.members.map((i) => `${textOf(values.name, i)} ${human(values.bytes[i])}`).slice(0, 4).join(", ") || "nothing in the arena");
    story.append(heading, el("p", textOf(units.ops, u) ? `One loop: ${textOf(units.ops, u)}.` : ""), list);
    return;
  }
  const heading = el("h3", group.title ?? "");
  const kinds = new Map();
  for (const i of group.members) kinds.set(values.kind[i], (kinds.get(values.kind[i]) ?? 0) + values.bytes[i]);
  const list = el("dl");
  pair(list, "values", `${group.members.length}, ${human(bytes)} in all`);
  if (group.units?.length) pair(list, "units", `${group.units.length}, ${humanFlops(group.units.reduce((sum, u) => sum + units.flops[u], 0))}`);
  for (const [kind, size] of [...kinds].sort((a, b) => b[1] - a[1])) pair(list, report.kinds[kind][0], `${human(size)} · ${report.kinds[kind][1]}`);
  const largest = [...group.members].sort((a, b) => values.bytes[b] - values.bytes[a]).slice(0, 2);
  const listed = largest.map((i) => `${textOf(values.name, i)}, ${human(values.bytes[i])}, ${textOf(values.scope, i) || OUTSIDE}, ${textOf(values.source, i)}`);
  if (listed.length) pair(list, "largest", listed.join("; "));
  story.append(heading, list);
}

function tellPhase(story, phase) {
  const heading = el("h3", `Phase ${phase} of ${phaseCount}`), list = el("dl");
  heading.append(el("span", `${human(liveBytes[phase])} live`, { class: "type" }));
  for (const u of unitsIn(phase).slice(0, 6)) pair(list, roleOf(u), `${textOf(units.name, u)}${textOf(units.scope, u) ? " of " + textOf(units.scope, u) : ""}`);
  const more = unitsIn(phase).length - 6;
  story.append(heading, list, el("p", more > 0 ? `and ${more} more` : "", { class: "quiet" }));
}

const LISTED = 30;
function tellLive() {
  const phase = state.phase ?? figures.peak_phase, live = byId("live");
  const list = el("ol"), found = liveAt(phase).sort((a, b) => values.bytes[b] - values.bytes[a]);
  for (const i of found.slice(0, LISTED)) {
    const button = el("button", "", i === state.value ? { class: "chosen" } : {});
    const what = el("span", "", { class: "what" });
    what.append(swatch(el("i"), colourOfValue(i)), textOf(values.name, i), " ", el("small", [textOf(values.scope, i), textOf(values.source, i)].filter(Boolean).join(" · ")));
    button.append(el("span", human(values.bytes[i]), { class: "size" }), what);
    button.addEventListener("click", () => hold({ value: i, group: null, phase }));
    const item = el("li");
    item.append(button);
    list.append(item);
  }
  live.replaceChildren(el("h3", `Live in phase ${phase}${phase === figures.peak_phase ? ", the peak" : ""}: ${human(liveBytes[phase])} in ${found.length} values`), list);
  if (found.length > LISTED) live.append(el("p", `and ${found.length - LISTED} smaller ones`, { class: "quiet" }));
}

function show(change) { Object.assign(state, change); tell(); redraw(); }
function point(change) { if (!state.held) show(change); }
function hold(change) {
  state.held = true;
  show(change);
  if (state.value !== null) { showRow(rowOfUnit[values.made_by[state.value]]); redraw(); }
}
function letGo() { state.held = false; show({ value: null, group: null, phase: null }); }

function layerInWords({ path, name, repeat }) {
  return repeat ? `${path ? path + " " : ""}${name}, ${repeat} alike` : path || name;
}

function groupAt(picked) {
  if (!picked) return { value: null, group: null };
  if (picked.members.length === 1 && picked.rung) return { value: picked.members[0], group: null };
  const row = picked.row === null || picked.row === undefined ? null : rows[picked.row];
  const title = picked.rung ? { kept: "Kept for the backward", again: "Recomputed" }[picked.rung.kind] : row ? layerInWords(row.layer) : "";
  return { value: null, group: { members: [...new Set(picked.members)], units: picked.units, title } };
}

for (const [view, pick] of [[memoryView, pickMemory], [arenaView, pickArena]]) {
  let dragged = null;
  const element = view.element;
  element.addEventListener("pointermove", (event) => {
    const [x, y] = view.at(event);
    if (dragged && event.buttons) {
      const length = time.to - time.from;
      if (Math.abs(x - dragged.x) > 3) dragged.moved = true;
      if (dragged.moved && length < phaseCount) moveTime(dragged.from - (x - dragged.x) / timeWidth(view) * length, length);
      return;
    }
    point({ ...pick(x, y), group: null });
  });
  element.addEventListener("pointerleave", () => point({ value: null, group: null, phase: null }));
  element.addEventListener("pointerdown", (event) => { dragged = { x: view.at(event)[0], from: time.from, moved: false }; });
  element.addEventListener("click", (event) => {
    if (dragged?.moved) return;
    const picked = pick(...view.at(event));
    if (state.held && picked.value === state.value) letGo(); else hold({ ...picked, group: null });
  });
  element.addEventListener("dblclick", () => moveTime(0, phaseCount));
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const around = time.from + (view.at(event)[0] - time.left) / timeWidth(view) * (time.to - time.from);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) moveTime(time.from + event.deltaX / timeWidth(view) * (time.to - time.from), time.to - time.from);
    else zoomTime(Math.exp(clamp(event.deltaY, -60, 60) / 160), clamp(around, time.from, time.to));
  }, { passive: false });
}

graphView.element.addEventListener("pointermove", (event) => {
  const picked = pickGraph(...graphView.at(event));
  graphView.element.style.cursor = picked?.label && !rows[picked.row].single ? "pointer" : "default";
  point({ ...groupAt(picked), phase: picked?.units?.length === 1 ? units.phase[picked.units[0]] : null });
});
graphView.element.addEventListener("pointerleave", () => point({ value: null, group: null, phase: null }));
graphView.element.addEventListener("click", (event) => {
  const picked = pickGraph(...graphView.at(event));
  if (picked?.label || (picked && picked.row !== null && event.detail === 2)) { state.held = false; toggleRow(picked.row); }
  else if (!picked) letGo();
  else hold({ ...groupAt(picked), phase: picked.units.length === 1 ? units.phase[picked.units[0]] : state.phase });
});
graphView.element.addEventListener("wheel", (event) => {
  const { most } = graphScale(), next = clamp(graphScroll + event.deltaY, 0, most);
  if (next === graphScroll) return;
  event.preventDefault();
  graphScroll = next;
  graphView.stale = true;
  redraw();
}, { passive: false });

// By key: phases across, the values that live there up and down.
function stepValue(direction) {
  const phase = state.phase ?? figures.peak_phase;
  const live = liveAt(phase).sort((a, b) => values.bytes[b] - values.bytes[a]);
  const next = state.value === null ? 0 : clamp(live.indexOf(state.value) + direction, 0, live.length - 1);
  if (live.length) hold({ phase, value: live[next], group: null });
}
function stepRow(direction) {
  focusedRow = clamp(focusedRow + direction, 0, rows.length - 1);
  showRow(focusedRow);
  const row = rows[focusedRow], members = (row.head ? row.layer.all : row.units).flatMap((u) => madeBy[u]);
  hold(groupAt({ members, units: row.head ? row.layer.all : row.units, row: focusedRow }));
}
function toPeak() { hold({ phase: figures.peak_phase, value: null, group: null }); }

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") { event.target.value = ""; event.target.blur(); search(""); }
    return;
  }
  const inGraph = document.activeElement === graphView.element;
  if (event.target instanceof HTMLButtonElement && event.key === "Enter") return;
  const middle = state.phase ?? (time.from + time.to) / 2, row = rows[focusedRow];
  const keys = {
    ArrowLeft: () => inGraph ? row?.layer.open && !row.single && toggleRow(focusedRow) : hold({ phase: Math.max((state.phase ?? figures.peak_phase) - 1, 0), group: null, value: null }),
    ArrowRight: () => inGraph ? row && !row.layer.open && toggleRow(focusedRow) : hold({ phase: Math.min((state.phase ?? figures.peak_phase) + 1, phaseCount - 1), group: null, value: null }),
    ArrowUp: () => inGraph ? stepRow(-1) : stepValue(-1),
    ArrowDown: () => inGraph ? stepRow(1) : stepValue(1),
    Enter: () => { if (inGraph) toggleRow(focusedRow); else state.held = !state.held; },
    Escape: letGo,
    "+": () => zoomTime(0.7, middle), "=": () => zoomTime(0.7, middle), "-": () => zoomTime(1 / 0.7, middle), 0: () => moveTime(0, phaseCount),
    p: toPeak, P: toPeak, "/": () => byId("search").focus(), "?": toggleHelp,
  };
  if (!(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

function search(words) {
  const wanted = words.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const hit = (i) => { const all = ["name", "scope", "source", "type"].map((c) => textOf(values[c], i)).join(" ").toLowerCase(); return wanted.every((word) => all.includes(word)); };
  const found = wanted.length ? [...Array(valueCount).keys()].filter(hit) : null;
  state.held = false;
  show({ found, value: null, phase: null, group: found ? { members: found, units: [], title: `${found.length} values match “${words.trim()}”` } : null });
  state.held = Boolean(found);
}
byId("search").addEventListener("input", (event) => search(event.target.value));

function pressed(on, off) { byId(on).setAttribute("aria-pressed", "true"); byId(off).setAttribute("aria-pressed", "false"); }
function colourBy(what) { state.colours = what; pressed(`by-${what}`, `by-${what === "kind" ? "layer" : "kind"}`); makeBands(); drawLegend(); tell(); redrawAll(); }
function showWhole(whole) { state.whole = whole; pressed(whole ? "whole" : "only-arena", whole ? "only-arena" : "whole"); redrawAll(); }
function toggleHelp() { const keys = byId("keys"); keys.hidden = !keys.hidden; byId("help").setAttribute("aria-expanded", String(!keys.hidden)); }
function useTheme(dark) { document.documentElement.dataset.theme = dark ? "dark" : "light"; readStyle(); drawLegend(); tell(); redrawAll(); }

function drawLegend() {
  const legend = byId("legend"), key = (words, colour) => swatch(el("span", words, { class: "key" }), colour);
  legend.replaceChildren();
  if (state.colours === "kind") {
    const used = new Set(values.kind);
    report.kinds.forEach(([name], kind) => { if (used.has(kind)) legend.append(key(name, kindColour(kind))); });
    return;
  }
  const last = chartGroups.names.length - 1, names = chartGroups.names.slice(0, last);
  if (names.length > 6) {
    const ramp = el("span", "", { class: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${names.map((_, group) => groupColour(group)).join(", ")})`;
    legend.append(el("span", chartGroups.ends[0]), ramp, el("span", chartGroups.ends[1]));
  } else names.forEach((name, group) => legend.append(key(name, groupColour(group))));
  if (bands.members[last].length) legend.append(key(OUTSIDE, rampColour(-1)));
}

function drawFigures() {
  const list = byId("figures");
  const add = (term, words, kind = "") => { const box = el("div", "", { class: kind }); box.append(el("dt", term), el("dd", words)); list.append(box); return box; };
  add("whole step", human(figures.total_bytes), "main");
  if (figures.budget_bytes !== null) add("budget", human(figures.budget_bytes), figures.total_bytes > figures.budget_bytes ? "over" : "");
  add("parameters", human(figures.parameter_bytes));
  add("optimizer state", human(figures.state_bytes));
  add("arena", human(figures.arena_bytes));
  if (figures.no_recompute_arena_bytes > figures.arena_bytes) add(figures.other_bits ? "arena without budget" : "without recompute", human(figures.no_recompute_arena_bytes));
  if (figures.moved_bytes) {
    add("host memory", human(figures.host_bytes));
    add("over the link", human(figures.moved_bytes)).title = `Units wait ${(figures.exposed_nanoseconds / 1e6).toFixed(2)} ms for it in a step, as predicted.`;
  }
  if (figures.messages) {
    add("sent to other ranks", `${human(figures.sent_bytes)} in ${figures.messages} messages`).title = `They take ${(figures.message_nanoseconds / 1e6).toFixed(2)} ms, as predicted; units wait for ${(figures.waiting_nanoseconds / 1e6).toFixed(2)} ms of that.`;
  }
  add("work", humanFlops(figures.flops));
  if (figures.recompute_flops) add("of it recompute", `${(100 * figures.recompute_flops / figures.flops).toFixed(1)}%`);
  if (figures.slowdown) add("more time, predicted", `${(100 * figures.slowdown).toFixed(1)}%`);
  if (figures.other_bits) add("bits", "differ", "over").title = `It ${figures.other_bits}.`;
}

byId("by-layer").addEventListener("click", () => colourBy("layer"));
byId("by-kind").addEventListener("click", () => colourBy("kind"));
byId("whole").addEventListener("click", () => showWhole(true));
byId("only-arena").addEventListener("click", () => showWhole(false));
byId("help").addEventListener("click", toggleHelp);
byId("open-more").addEventListener("click", () => openMore(true));
byId("close-more").addEventListener("click", () => openMore(false));
byId("theme").addEventListener("click", () => useTheme(document.documentElement.dataset.theme !== "dark"));
const darkWished = window.matchMedia("(prefers-color-scheme: dark)");
darkWished.addEventListener("change", (event) => useTheme(event.matches));

if (report.curve.length) { byId("curve-card").hidden = false; document.querySelector("main").classList.add("has-curve"); }
readStyle();
makeBands();
makeRows();
drawFigures();
showWhole(heldBytes <= 1.5 * figures.arena_bytes);
useTheme(darkWished.matches);
for (const view of views) view.element.addEventListener("focus", redraw);
for (const view of views) view.element.addEventListener("blur", redraw);
for (const view of views) view.draw();
