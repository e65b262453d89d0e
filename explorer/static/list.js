// The list page: its address carries the list; notes, removals and exports.

import { addressOf, keep, marked } from "./marks.js";

const lines = document.querySelector("[data-lines]");
const given = [...lines.querySelectorAll("tr[data-name]")];
if (!location.search && marked().length) location.replace(addressOf(marked()));

/** The rows as they stand: what the tables say of each, and its note. */
function rows() {
  return [...lines.querySelectorAll("tr[data-name]")].map((row) => ({
    concept: row.dataset.name,
    label: row.dataset.label ?? "",
    iou_selection: row.dataset.iou_selection ? Number(row.dataset.iou_selection) : null,
    iou_heldout: row.dataset.iou_heldout ? Number(row.dataset.iou_heldout) : null,
    note: row.querySelector("[data-note]").value,
  }));
}

const marks = () => rows().map((row) => [row.concept, row.note]);

/** Let the address carry what stands here, and the browser too if the list is its own. */
function settle() {
  const own = new Set(marked().map(([name]) => name));
  const here = marks();
  history.replaceState(null, "", addressOf(here));
  if (given.every((row) => own.has(row.dataset.name))) keep(here);
}

/** A field of a CSV file: quoted, and no formula where a spreadsheet would take it for one. */
function field(value) {
  const text = value === null ? "" : String(value);
  const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${plain.replaceAll('"', '""')}"`;
}

function save(kind) {
  const shown = rows();
  const names = ["concept", "label", "iou_selection", "iou_heldout", "note"];
  const csv = [names, ...shown.map((row) => names.map((name) => row[name]))].map((row) => row.map(field).join(",")).join("\r\n");
  const text = kind === "json" ? JSON.stringify(shown, null, 1) : csv;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: kind === "json" ? "application/json" : "text/csv" }));
  link.download = `concepts.${kind}`;
  lines.dataset.saved = text;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

lines.addEventListener("input", settle);
lines.addEventListener("click", (event) => {
  if (!event.target.matches("[data-drop]")) return;
  const name = event.target.closest("tr").dataset.name;
  event.target.closest("tr").remove();
  keep(marked().filter(([one]) => one !== name));
  history.replaceState(null, "", addressOf(marks()));
});
document.querySelectorAll("[data-save]").forEach((one) => one.addEventListener("click", () => save(one.dataset.save)));
document.querySelector("[data-keep]").addEventListener("click", () => {
  const here = marks();
  const names = new Set(here.map(([name]) => name));
  keep([...marked().filter(([name]) => !names.has(name)), ...here]);
});
