// Maps over images: drawn on a canvas whose pixels are the grid's cells, and read at the pointer or by the keyboard.

import { codesAt } from "./places.js";

const STOPS = [[0.0, [76, 29, 149]], [0.5, [234, 88, 12]], [1.0, [253, 224, 71]]];

/** The colour [r, g, b] of a share of the scale, from 0 to 1. */
export function colourOf(share) {
  const upper = STOPS.findIndex(([at]) => at >= share);
  if (upper <= 0) return STOPS[0][1];
  const [low, from] = STOPS[upper - 1];
  const [high, to] = STOPS[upper];
  const between = (share - low) / (high - low);
  return from.map((value, i) => Math.round(value + between * (to[i] - value)));
}

/** Draw values (row by row; 0 is off and stays clear) as colours on a scale from 0 to top. */
export function drawMap(canvas, [rows, columns], values, top, opacity) {
  canvas.width = columns;
  canvas.height = rows;
  const picture = new ImageData(columns, rows);
  values.forEach((value, cell) => {
    if (!(value > 0)) return;
    const share = top > 0 ? Math.min(value / top, 1) : 1;
    picture.data.set([...colourOf(share), Math.round(255 * opacity * (0.35 + 0.65 * share))], 4 * cell);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

const CELL = 64; // pixels of a cell, of which its frame takes two

/** Draw the cells in which something is predicted, each with a frame. */
export function drawCells(canvas, [rows, columns], cells) {
  canvas.width = CELL * columns;
  canvas.height = CELL * rows;
  const pen = canvas.getContext("2d");
  pen.strokeStyle = "#fff";
  pen.fillStyle = "rgb(29 95 184 / 55%)";
  pen.lineWidth = 2;
  cells.forEach((cell) => {
    const [left, top] = [CELL * (cell % columns), CELL * Math.floor(cell / columns)];
    pen.fillRect(left, top, CELL, CELL);
    pen.strokeRect(left + 1, top + 1, CELL - 2, CELL - 2);
  });
}

/** Paint a mask into a picture: run lengths over rows, beginning with the pixels outside. */
export function paintRuns(picture, runs, colour) {
  let at = 0;
  runs.split(" ").map(Number).forEach((length, run) => {
    for (let pixel = at; run % 2 && pixel < at + length; pixel += 1) picture.data.set(colour, 4 * pixel);
    at += length;
  });
}

/** The cell [row, column] of a grid that a pointer is over, within an element that the grid covers. */
export function cellAt(element, event, [rows, columns]) {
  const box = element.getBoundingClientRect();
  const within = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
  return [
    within((event.clientY - box.top) / box.height, rows),
    within((event.clientX - box.left) / box.width, columns),
  ];
}

/** The rows and columns by which an arrow key moves. */
export const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Call told([row, column]) whenever a cell is pointed at, touched or reached with the arrow keys. */
export function follow(element, gridOf, told) {
  let cell = [0, 0];
  const point = (event) => {
    const grid = gridOf();
    if (!grid) return;
    cell = cellAt(element, event, grid);
    told(cell);
  };
  element.addEventListener("pointermove", point);
  element.addEventListener("pointerdown", point);
  element.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    const grid = gridOf();
    if (!move || !grid) return;
    event.preventDefault();
    cell = cell.map((at, i) => Math.min(Math.max(at + move[i], 0), grid[i] - 1));
    told(cell);
  });
}

/** Mark a cell of an element with a frame of its own. */
export function mark(element, [row, column], [rows, columns]) {
  let frame = element.querySelector(".cell");
  if (!frame) {
    frame = document.createElement("span");
    frame.className = "cell";
    element.append(frame);
  }
  frame.style.setProperty("top", `${(100 * row) / rows}%`);
  frame.style.setProperty("left", `${(100 * column) / columns}%`);
  frame.style.setProperty("height", `${100 / rows}%`);
  frame.style.setProperty("width", `${100 / columns}%`);
}

const asked = new Map();

/** The codes of an image at a site, or the masks of its labels, asked for once. Rejects with why there are none. */
export function askOnce(address) {
  if (!asked.has(address)) {
    const answer = codesAt(address);
    asked.set(address, answer);
    answer.catch(() => asked.delete(address));
  }
  return asked.get(address);
}

/** Call `reveal` with each element of a selector, once it comes near to what is seen. */
export function onceInSight(selector, reveal) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      watcher.unobserve(entry.target);
      reveal(entry.target);
    }
  }, { rootMargin: "200px" });
  document.querySelectorAll(selector).forEach((element) => watcher.observe(element));
}

/** Bytes that were written as base64. */
function bytesOf(text) {
  return new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** A map, row by row, from the cells that are on: of each its number in two bytes and its value in four. */
export function mapFrom(cells, [rows, columns]) {
  const values = new Array(rows * columns).fill(0);
  const bytes = bytesOf(cells);
  for (let at = 0; at < bytes.byteLength; at += 6) values[bytes.getUint16(at, true)] = bytes.getFloat32(at + 2, true);
  return values;
}

/** One concept's map, row by row, from the codes of an image. */
export function mapOf(codes, cid) {
  return codes.cells.map((cell) => cell.find(([one]) => one === cid)?.[1] ?? 0);
}
