// The edit page: a region that is painted, a window of times, and a request whose progress is told.

import { MOVES, cellAt } from "./maps.js";

const GRID = [16, 16];
const form = document.querySelector("[data-editing]");
const frame = form.querySelector("[data-canvas]");
const canvas = form.querySelector("[data-painted]");
const named = form.querySelector("[data-windows]");
const low = form.querySelector("input[data-low]");
const high = form.querySelector("input[data-high]");
const state = form.querySelector("[data-state]");
const said = form.querySelector("[data-said]");
const here = { on: new Set(), name: "", corner: null, before: null, cell: [0, 0] };

/** The region as the library reads it: a name, painted cells, or nothing for everywhere. */
function regionOf(on, name) {
  if (name) return name;
  if (!on.size) return "";
  let digits = "";
  for (let first = 0; first < GRID[0] * GRID[1]; first += 4) {
    const bits = [0, 1, 2, 3].map((i) => (on.has(first + i) ? 8 >> i : 0));
    digits += bits.reduce((sum, bit) => sum + bit, 0).toString(16);
  }
  return `cells:${GRID[0]}x${GRID[1]}:${digits}`;
}

const NAMED = {
  left: [0, 0, 16, 8], right: [0, 8, 16, 16], top_left: [0, 0, 8, 8], top_right: [0, 8, 8, 16],
  bottom_left: [8, 0, 16, 8], bottom_right: [8, 8, 16, 16], centre: [4, 4, 12, 12],
};

/** The cells of rows top to bottom and columns left to right, the ends left out. */
function cellsOf([top, left, bottom, right]) {
  const cells = [];
  for (let row = top; row < bottom; row += 1) {
    for (let column = left; column < right; column += 1) cells.push(row * GRID[1] + column);
  }
  return cells;
}

function draw() {
  const picture = new ImageData(GRID[1], GRID[0]);
  here.on.forEach((cell) => picture.data.set([234, 88, 12, 150], 4 * cell));
  const [row, column] = here.cell;
  if (document.activeElement === frame) picture.data.set([29, 95, 184, 220], 4 * (row * GRID[1] + column));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const words = here.name ? here.name.replaceAll("_", " ") : `${here.on.size} of ${GRID[0] * GRID[1]} cells painted`;
  form.querySelector("[data-painting]").textContent = here.on.size ? words : "everywhere";
  frame.dataset.region = regionOf(here.on, here.name);
}

/** What the tool does at a cell. */
function paint([row, column]) {
  const cell = row * GRID[1] + column;
  const tool = form.elements.tool.value;
  here.name = "";
  if (tool === "eraser") here.on.delete(cell);
  else if (tool === "brush") here.on.add(cell);
  else {
    const [top, bottom] = [here.corner[0], row].sort((a, b) => a - b);
    const [left, right] = [here.corner[1], column].sort((a, b) => a - b);
    here.on = new Set([...here.before, ...cellsOf([top, left, bottom + 1, right + 1])]);
  }
  draw();
}

frame.addEventListener("pointerdown", (event) => {
  frame.setPointerCapture(event.pointerId);
  here.corner = cellAt(frame, event, GRID);
  here.before = [...here.on];
  paint(here.corner);
});
frame.addEventListener("pointermove", (event) => {
  if (here.corner) paint(cellAt(frame, event, GRID));
});
["pointerup", "pointercancel"].forEach((kind) => frame.addEventListener(kind, () => { here.corner = null; }));
frame.addEventListener("keydown", (event) => {
  const move = MOVES[event.key];
  if (!move && event.key !== " ") return;
  event.preventDefault();
  if (move) here.cell = here.cell.map((at, i) => Math.min(Math.max(at + move[i], 0), GRID[i] - 1));
  else {
    here.before = [...here.on];
    here.corner = here.cell;
    paint(here.cell);
    here.corner = null;
  }
  draw();
});
["focus", "blur"].forEach((kind) => frame.addEventListener(kind, draw));
form.querySelectorAll("button[data-region]").forEach((button) => button.addEventListener("click", () => {
  here.name = button.dataset.region;
  here.on = new Set(here.name ? cellsOf(NAMED[here.name]) : []);
  draw();
}));

function showWindow() {
  const chosen = named.selectedOptions[0];
  if (chosen.value) [low.value, high.value] = [chosen.dataset.low, chosen.dataset.high];
}
named.addEventListener("input", showWindow);
[low, high].forEach((field) => field.addEventListener("input", () => { named.value = ""; }));

/** What is asked, as the server takes it. */
function asked() {
  const fields = ["prompt", "seed", "operation", "concept", "instead_of", "strength", "block"];
  const given = Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
  return { ...given, window: named.value || `${low.value}-${high.value}`, region: regionOf(here.on, here.name) };
}

async function answerOf(address, options) {
  const response = await fetch(address, options);
  if (response.headers.get("content-type")?.startsWith("application/json")) {
    const found = await response.json();
    if (response.ok) return found;
    throw new Error(found.said);
  }
  throw new Error((await response.text()).trim());
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** Ask for the edit, tell how far it is, and go to its page. */
async function go(event) {
  event.preventDefault();
  const button = form.querySelector("[data-go]");
  button.disabled = true;
  said.hidden = true;
  state.textContent = "asked for";
  try {
    const headers = { "content-type": "application/json", "x-token": form.dataset.token };
    const { job } = await answerOf("/edit", { method: "POST", headers, body: JSON.stringify(asked()) });
    for (;;) {
      const told = await answerOf(`/edit/job/${job}`);
      if (told.state === "failed") throw new Error(told.said);
      if (told.state === "done") {
        location.assign(`/edit/${encodeURIComponent(told.edit)}`);
        return;
      }
      const [done, of] = told.steps;
      const far = of ? `, step ${done} of ${of}` : "";
      state.textContent = told.state === "working" ? `at work for ${told.seconds.toFixed(0)} s${far}` : "waits for the edits before it";
      await pause(250);
    }
  } catch (error) {
    said.hidden = false;
    said.textContent = error.message;
    state.textContent = "";
  } finally {
    button.disabled = false;
  }
}
form.addEventListener("submit", go);
showWindow();
draw();
