// The image page: segments on and off, a time, and the concepts that fire in the place that is pointed at.

import { element, linkTo } from "./dom.js";
import { askOnce, drawCells, drawMap, follow, mapOf, mark, paintRuns } from "./maps.js";
import { conceptUrl, labelUrl } from "./places.js";

const image = document.querySelector("[data-image]");
const codes = document.querySelector("[data-codes]");
const place = codes.querySelector("[data-place]");
const slider = codes.querySelector("[data-slider]");
const opacity = codes.querySelector("[data-opacity]");
const said = codes.querySelector("[data-said]");
const reading = codes.querySelector("[data-reading]");
const list = codes.querySelector("[data-list]");
const times = codes.dataset.times.trim().split(" ");
const here = { codes: null, cell: null, chosen: null, wanted: null };

/** Paint the masks that are switched on. */
function drawSegments() {
  const canvas = image.querySelector("[data-segments]");
  const boxes = [...document.querySelectorAll("[data-segment]")];
  if (!boxes.length) return;
  const [rows, columns] = boxes[0].dataset.size.split(" ").map(Number);
  canvas.width = columns;
  canvas.height = rows;
  const picture = new ImageData(columns, rows);
  boxes.forEach((box) => {
    if (!box.checked) return;
    const swatch = getComputedStyle(box.nextElementSibling).backgroundColor; // as in rgb(29, 95, 184)
    const colour = [...swatch.match(/\d+/g).slice(0, 3).map(Number), 150];
    paintRuns(picture, box.dataset.runs, colour);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** The map of the chosen concept, on a scale from 0 to its largest activation anywhere. */
function drawChosen() {
  const canvas = image.querySelector("[data-map]");
  if (!here.codes || here.chosen === null) {
    canvas.width = 1;
    return;
  }
  const [, top] = here.codes.concepts[here.chosen] ?? [null, 0];
  drawMap(canvas, here.codes.grid, mapOf(here.codes, here.chosen), top, opacity.value / 100);
}

/** The cells in which the chosen label is predicted from the codes that are shown, each with a frame. */
function drawLayout() {
  const canvas = image.querySelector("[data-layout]");
  const chosen = document.querySelector("[data-predicted]");
  canvas.width = 1;
  if (!chosen?.value || !here.codes) return;
  const cells = here.codes.layouts[chosen.value];
  const told = document.querySelector("[data-predicted-told]");
  if (!cells) {
    told.textContent = `Of ${chosen.value} no layout is predicted here: concepts layout learns it from labels that are in images enough and do not fill them.`;
    return;
  }
  const [rows, columns] = here.codes.grid;
  drawCells(canvas, here.codes.grid, cells);
  const where = `${here.codes.path}, ${cells.length} of ${rows * columns} cells`;
  told.textContent = `${chosen.value} as predicted from ${where}; the threshold was learnt on the dictionary split.`;
}

/** One line of the list: the concept's number, its label, its activation here and its largest anywhere. */
function lineOf([cid, value]) {
  const [label, top] = here.codes.concepts[cid] ?? [null, null];
  const choose = element("button", {}, "map");
  choose.addEventListener("click", () => { here.chosen = cid; tell(); });
  const cells = [
    [linkTo(conceptUrl(here.codes.path, cid), cid), " ", choose],
    [label === null ? "no label" : linkTo(labelUrl(label), label)],
    [value.toPrecision(4)],
    [top === null ? "" : top.toPrecision(4)],
  ];
  const row = element("tr", { "data-cid": cid, "data-value": value }, ...cells.map((cell) => element("td", {}, ...cell)));
  row.classList.toggle("assigned", cid === here.chosen);
  return row;
}

/** List what fires in the cell that is pointed at; without a choice of the reader's, the strongest is mapped. */
function tell() {
  if (!here.codes || !here.cell) return;
  const [row, column] = here.cell;
  const firing = here.codes.cells[row * here.codes.grid[1] + column];
  mark(image, here.cell, here.codes.grid);
  const many = firing.length === 1 ? "1 concept fires" : `${firing.length} concepts fire`;
  reading.textContent = `row ${row}, column ${column}: ${many}`;
  if (here.chosen === null && firing.length) {
    here.chosen = firing[0][0];
    list.replaceChildren(...firing.map(lineOf));
    drawChosen();
    here.chosen = null;
    return;
  }
  list.replaceChildren(...firing.map(lineOf));
  drawChosen();
}

/** Read the codes of the dictionary and time that are chosen. */
async function load() {
  const { block, conditioning, k } = place.selectedOptions[0].dataset;
  const t = times[slider.value];
  codes.querySelector("[data-time]").textContent = Number(t);
  const address = `${codes.dataset.codes}/${block}/${t}/${conditioning}/k${k}`;
  here.chosen = null;
  here.wanted = address;
  try {
    const found = await askOnce(address);
    if (here.wanted !== address) return; // the slider has moved on
    said.hidden = true;
    here.codes = found;
    const [rows, columns] = found.grid;
    here.cell = here.cell
      ? [Math.min(here.cell[0], rows - 1), Math.min(here.cell[1], columns - 1)]
      : [Math.floor(rows / 2), Math.floor(columns / 2)];
    tell();
    drawLayout();
    codes.dataset.loaded = address;
  } catch (error) {
    if (here.wanted !== address) return;
    here.codes = null;
    said.hidden = false;
    said.textContent = error.message;
    list.replaceChildren();
    drawChosen();
    drawLayout();
  }
}

document.querySelectorAll("[data-segment]").forEach((box) => box.addEventListener("input", drawSegments));
document.querySelector("[data-predicted]")?.addEventListener("input", drawLayout);
place.addEventListener("input", load);
slider.addEventListener("input", load);
opacity.addEventListener("input", tell);
follow(image, () => here.codes?.grid, (cell) => { here.cell = cell; tell(); });
load();
