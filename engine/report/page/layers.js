// The tree of layers, the groups of the charts, and their colours.

const MOST_GROUPS = 64, FEW_GROUPS = 6, FOLD_FROM = 4, MOST_PERIOD = 6, LIKE = 1.5, FIRST_ROWS = 26;
const OUTSIDE = "outside the layers";

// From OKLCH (Ottosson 2020) to an sRGB colour that every canvas knows.
function oklch(l, c, h, alpha = 1) {
  const a = c * Math.cos(h * Math.PI / 180), b = c * Math.sin(h * Math.PI / 180);
  const [x, y, z] = [l + 0.3963377774 * a + 0.2158037573 * b, l - 0.1055613458 * a - 0.0638541728 * b, l - 0.0894841775 * a - 1.291485548 * b].map((v) => v ** 3);
  const rgb = [4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z, -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z, -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z];
  const bytes = rgb.map((v) => Math.round(255 * clamp(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0, 1)));
  return `rgba(${bytes.join(",")},${alpha})`;
}

let style = {};
function readStyle() {
  const read = getComputedStyle(document.documentElement);
  style = Object.fromEntries(["paper", "card", "ink", "soft", "faint", "rule", "track", "held", "line", "cursor", "glow", "chip", "l", "c"].map((name) => [name, read.getPropertyValue(`--${name}`).trim()]));
  style.l = parseFloat(style.l); style.c = parseFloat(style.c);
}

// Along the depth of the model, from blue at its entry to red at its end; neighbours differ a little in lightness.
function rampColour(t, shade = 0) {
  return t < 0 ? oklch(style.l + 0.02, 0.012, 90) : oklch(style.l + shade, style.c, 262 - 240 * t);
}

const KIND_HUES = [[250, 1, -0.06], [310, 1, -0.02], [225, 0.55, 0.1], [28, 1.15, -0.06], [72, 0.85, 0.06], [155, 0.8, 0], [340, 1, 0], [90, 0.1, 0.02]];
function kindColour(kind) {
  const [hue, chroma, shade] = KIND_HUES[kind];
  return oklch(style.l + shade, style.c * chroma, hue);
}
const ROLE_HUES = { forward: [250, 0.6], recompute: [310, 0.9], backward: [65, 0.8], optimizer: [155, 0.6] };
function roleColour(role) {
  const [hue, chroma] = ROLE_HUES[role] ?? ROLE_HUES.forward;
  return oklch(style.l, style.c * chroma, hue);
}

// Where each layer stands in the model.
const scopePlace = new Map(report.order.map((text, place) => [report.texts[text], place]));

// Groups of the charts: the deepest cut through the scopes that leaves few enough; where that shows next to nothing,
// the next one, with neighbours put together.
const chartGroups = (() => {
  const scopes = [...new Set([...values.scope, ...units.scope])].map((t) => report.texts[t]);
  const cutAt = (scope, depth) => scope.split(".").slice(0, depth).join(".");
  const sizeAt = (depth) => new Set(scopes.map((scope) => cutAt(scope, depth))).size;
  let depth = 1;
  for (let d = 2; d <= 12; d++) if (sizeAt(d) <= MOST_GROUPS) depth = d;
  if (sizeAt(depth) < FEW_GROUPS && sizeAt(depth + 1) > MOST_GROUPS) depth += 1;
  const places = new Map();
  for (const scope of scopes) {
    const name = cutAt(scope, depth), at = scopePlace.get(scope);
    places.set(name, Math.min(places.get(name) ?? Infinity, at));
  }
  const names = [...places.keys()].filter((name) => name).sort((a, b) => places.get(a) - places.get(b));
  const width = Math.ceil(names.length / MOST_GROUPS) || 1, index = new Map(names.map((name, i) => [name, Math.floor(i / width)]));
  const titles = [];
  for (let i = 0; i < names.length; i += width) {
    const end = names[Math.min(i + width, names.length) - 1];
    titles.push(end !== names[i] ? `${names[i]} – ${end}` : end);
  }
  index.set("", titles.length);
  return { names: [...titles, OUTSIDE], ends: [names[0], names[names.length - 1]], of: (scope) => index.get(cutAt(scope, depth)) };
})();

function groupColour(group) {
  const last = chartGroups.names.length - 1;
  if (group === last || group === undefined) return rampColour(-1);
  return rampColour(last > 1 ? group / (last - 1) : 0.2, group % 2 ? 0.035 : -0.02);
}
const layerColour = (scope) => groupColour(chartGroups.of(scope));

// Of a layer that holds others, the colour of the one in the middle.
function treeColour(layer) {
  layer.scopes ??= [...new Set(layer.all.map((u) => textOf(units.scope, u)))].sort((a, b) => scopePlace.get(a) - scopePlace.get(b));
  return layerColour(layer.scopes[layer.scopes.length >> 1]);
}

// The tree: a node has children, or units of its own.
function newLayer(name, path, parent) {
  return { name, path, parent, children: [], units: [], open: false, repeat: 0, depth: parent ? parent.depth + 1 : -1 };
}

const root = (() => {
  const top = newLayer("", "", null), byPath = new Map([["", top]]);
  const find = (path) => {
    if (byPath.has(path)) return byPath.get(path);
    const dot = path.lastIndexOf("."), parent = find(dot < 0 ? "" : path.slice(0, dot));
    const node = newLayer(path.slice(dot + 1), path, parent);
    parent.children.push(node);
    byPath.set(path, node);
    return node;
  };
  for (let u = 0; u < unitCount; u++) find(textOf(units.scope, u)).units.push(u);
  const settle = (node) => {
    if (node.units.length && (node.children.length || node === top)) {
      const own = newLayer(node === top ? OUTSIDE : "itself", node.path, node);
      own.units = node.units;
      node.units = [];
      node.children.push(own);
    }
    node.children.forEach(settle);
    if (node !== top && !node.units.length && node.children.length === 1) {
      const [only] = node.children;
      node.name += `.${only.name}`;
      Object.assign(node, { path: only.path, units: only.units, children: only.children });
    }
    node.all = [...node.units, ...node.children.flatMap((child) => child.all)];
    const forward = node.all.filter((u) => roleOf(u) === "forward");
    // The loss stands at the bottom of the U.
    node.place = node.name === OUTSIDE ? Infinity : node.children.length ? Math.min(...node.children.map((child) => child.place)) : scopePlace.get(node.path);
    node.children.sort((a, b) => a.place - b.place);
    // A numbered layer is known by what it runs, one with a name by its name: the first block may hold a mask that all share.
    const own = node.children.length ? "" : forward.map((u) => textOf(units.name, u)).join();
    node.likeness = "[" + (node.children.map((child) => /^\d+$/.test(child.name) ? "*" + child.likeness : child.name + (child.children.length ? child.likeness : "")).sort().join() || own) + "]";
    node.children = folded(node);
  };
  settle(top);
  const deepen = (node) => { for (const child of node.children) { child.parent = node; child.depth = node.depth + 1; deepen(child); } };
  deepen(top);
  top.open = true;
  return top;
})();

// The bytes that a layer keeps for the backward, and those it recomputes.
function keptAndMadeAgain(layer) {
  let kept = 0, again = 0;
  for (const u of layer.all) for (const i of madeBy[u]) {
    if (values.kind[i] === KIND.activation) kept += values.bytes[i];
    if (values.kind[i] === KIND.recomputed) again += values.bytes[i];
  }
  return [kept, again];
}

function keepAlike(one, other) {
  const kept = keptAndMadeAgain(one);
  return keptAndMadeAgain(other).every((bytes, k) => bytes <= LIKE * kept[k] && kept[k] <= LIKE * bytes);
}

// Numbered layers of the same making, which keep about as much, become one that can be opened; so do a few that come
// again and again, such as a product, its norm and its rectifier.
function folded(node) {
  const layers = node.children, result = [];
  const alike = (one, other) => /^\d+$/.test(one.name) && /^\d+$/.test(other.name) && one.likeness === other.likeness && keepAlike(one, other);
  for (let i = 0; i < layers.length;) {
    let period = 0, end = i;
    while (period < MOST_PERIOD && (period === 0 || end - i < FOLD_FROM * period)) {
      period++;
      for (end = i + period; end < layers.length && alike(layers[i + (end - i) % period], layers[end]);) end++;
      end -= (end - i) % period;
    }
    if (end - i < FOLD_FROM * period) { result.push(layers[i]); i++; continue; }
    const run = layers.slice(i, end), fold = newLayer(`${run[0].name}–${run[run.length - 1].name}`, node.path, node);
    fold.repeat = run.length / period;
    fold.children = run;
    fold.all = run.flatMap((child) => child.all);
    fold.place = run[0].place;
    fold.likeness = `${fold.repeat} of ${run.slice(0, period).map((child) => child.likeness)}`;
    result.push(fold);
    i = end;
  }
  return result;
}

function visibleLayers() {
  const rows = [];
  const walk = (node) => { for (const child of node.children) { rows.push(child); if (child.open && child.children.length) walk(child); } };
  walk(root);
  return rows;
}

// At first as many levels are open as fit one look; what looks alike opens together, and so do the layers of a list.
function openAtFirst() {
  for (let again = true; again;) {
    again = false;
    const closed = new Map();
    for (const node of visibleLayers()) if (!node.open && node.children.length) { const like = /^\d+$/.test(node.name) ? node.path.replace(/\d+/g, "*") : `${node.depth} ${node.likeness}`; closed.set(like, [...(closed.get(like) ?? []), node]); }
    // The layers of a list first, then what is in each.
    for (const alike of [...closed.values()].sort((a, b) => a[0].depth - b[0].depth || b[0].repeat - a[0].repeat)) {
      const more = alike.reduce((sum, node) => sum + node.children.length, 0);
      if (visibleLayers().length + more > FIRST_ROWS) continue;
      for (const node of alike) node.open = true;
      again = true;
    }
  }
}
openAtFirst();
