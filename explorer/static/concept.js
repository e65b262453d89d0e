// The concept page: maps over its images, on one scale or each on its own, and maps of its partners.

import { askOnce, drawMap, follow, mapFrom, mapOf, mark, onceInSight } from "./maps.js";

const controls = document.querySelector("[data-controls]");
const opacity = document.querySelector("[data-opacity]");
const shared = document.querySelector("[data-shared]");
const reading = document.querySelector("[data-reading]");
const shown = [];

/** Draw one map as the controls say. */
function draw({ element, grid, values, top }) {
  const scale = !shared || shared.checked ? top : Math.max(...values);
  drawMap(element.querySelector("canvas"), grid, values, scale, opacity ? opacity.value / 100 : 0.75);
}

/** Show a map and tell its value wherever it is pointed at. */
function show(map) {
  shown.push(map);
  draw(map);
  follow(map.element, () => map.grid, ([row, column]) => {
    const value = map.values[row * map.grid[1] + column];
    mark(map.element, [row, column], map.grid);
    map.element.dataset.value = value;
    map.element.title = `row ${row}, column ${column}: ${value}`;
    if (reading) {
      reading.dataset.value = value;
      reading.textContent = `row ${row}, column ${column}: ${Number(value.toPrecision(4))}`;
    }
  });
}

for (const element of document.querySelectorAll(".map[data-cells]")) {
  const grid = element.dataset.grid.split(" ").map(Number);
  const top = Number(element.closest("[data-top]")?.dataset.top ?? controls.dataset.top);
  show({ element, grid, values: mapFrom(element.dataset.cells, grid), top });
}

for (const control of [opacity, shared]) {
  control?.addEventListener("input", () => shown.forEach(draw));
}

/** The map of a partner, once it comes into sight. */
async function reveal(element) {
  try {
    const codes = await askOnce(element.dataset.codes);
    const values = mapOf(codes, Number(element.dataset.cid));
    show({ element, grid: codes.grid, values, top: Number(element.dataset.top) });
  } catch (error) {
    element.title = error.message;
    element.classList.add("unread");
  }
}

onceInSight(".map[data-codes]", reveal);
