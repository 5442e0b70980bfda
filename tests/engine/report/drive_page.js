// Uses the page as a person would, and leaves what it said in an element that the test reads.
const errors = [];
window.addEventListener("error", (event) => errors.push(event.message));

const story = () => document.getElementById("story").innerText;

function at(id, x, y, type = "pointermove") {
  const element = document.getElementById(id), box = element.getBoundingClientRect();
  const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true, cancelable: true };
  element.dispatchEvent(type === "wheel" ? new WheelEvent(type, { ...place, deltaY: -40 }) : new PointerEvent(type, place));
  return story();
}

function press(key) {
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  return story();
}

function coloursOf(canvas) {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let k = 0; k < 4000; k++) {
    const i = 4 * ((k * 7919) % (canvas.width * canvas.height));
    colours.add(pixels.slice(i, i + 4).join());
  }
  return colours.size;
}

function use(said) {
  said.start = story();
  const seen = new Set();
  for (let k = 0; k < 40; k++) {
    for (const [id, x, y] of [["arena", 0.1 + k / 50, 0.2 + (k % 7) / 10], ["memory", 0.1 + k / 50, 0.75], ["graph", 0.02 + k / 41, 0.1 + (k % 9) / 11]]) {
      seen.add(`${id}: ${at(id, x, y).split("\n")[0]}`);
    }
  }
  said.seen = [...seen];
  said.arena = at("arena", 0.45, 0.85);
  press("Escape");
  document.getElementById("memory").focus();
  said.peak = press("p");
  said.largest = press("ArrowDown");
  said.next = press("ArrowDown");
  said.phase = press("ArrowRight");
  for (const key of ["+", "0", "Escape"]) press(key);
  document.getElementById("graph").focus();
  said.row = press("ArrowDown");
  for (const key of ["ArrowRight", "ArrowLeft", "Enter", "Escape"]) press(key);
  for (const id of ["by-kind", "theme", "only-arena", "open-more", "open-more", "close-more", "help", "by-layer", "whole"]) {
    document.getElementById(id).click();
  }
  const search = document.getElementById("search");
  search.value = "blocks.2";
  search.dispatchEvent(new Event("input"));
  said.search = story();
  at("memory", 0.5, 0.5, "wheel");
  said.canvases = [...document.querySelectorAll("#memory canvas, #arena canvas, #graph canvas")].map(coloursOf);
}

window.addEventListener("load", () => setTimeout(() => {
  const said = {};
  try { use(said); } catch (error) { errors.push(String(error.stack)); }
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({ ...said, errors });
  document.body.append(result);
}, 200));
