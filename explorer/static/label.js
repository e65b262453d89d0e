// A label's page: the masks of images, and the cells where the label is predicted in them, of the block that is chosen.

import { askOnce, drawCells, onceInSight, paintRuns } from "./maps.js";

const MASK = [194, 65, 12, 150];
const place = document.querySelector("[data-predicted] [data-place]");

const numbersOf = (text) => (text ? text.split(" ").map(Number) : []);

/** The mask of the label in an image, which an exported page has in itself. */
async function maskOf({ masks, label, runs, size }) {
  return masks === undefined ? { runs, size } : (await askOnce(masks)).masks[label];
}

async function drawMask(element) {
  const { runs, size } = await maskOf(element.dataset);
  const [rows, columns] = numbersOf(size);
  const canvas = element.querySelector("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const picture = new ImageData(columns, rows);
  paintRuns(picture, runs, MASK);
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** The grid and the cells where the label is predicted; no cells where nothing is. */
async function layoutOf({ codes, label, grid, on }) {
  if (codes === undefined) return [numbersOf(grid), on === undefined ? undefined : numbersOf(on)];
  const found = await askOnce(codes);
  return [found.grid, found.layouts[label]];
}

async function drawLayout(element) {
  const [grid, cells] = await layoutOf(element.dataset);
  drawCells(element.querySelector("canvas"), grid, cells ?? []);
  element.nextElementSibling.textContent = cells ? `${cells.length} of ${grid[0] * grid[1]} cells` : "not predicted";
}

/** Draw what has come into sight; what cannot be read says why to a pointer that rests on it. */
async function reveal(element) {
  const { masks, runs } = element.dataset;
  try {
    if (element.classList.contains("unread")) throw new Error(element.title);
    await (masks !== undefined || runs !== undefined ? drawMask : drawLayout)(element);
    element.dataset.drawn = "yes";
  } catch (error) {
    element.title = error.message;
    element.classList.add("unread");
    element.nextElementSibling.textContent = "cannot be read";
  }
}

onceInSight("[data-predicted] .map", reveal);

/** Show the predictions of the block that is chosen. */
function choose() {
  document.querySelectorAll("[data-of]").forEach((element) => { element.hidden = element.dataset.of !== place.value; });
}

place.addEventListener("input", choose);
choose(); // the browser may have kept an earlier choice
