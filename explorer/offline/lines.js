// The list page of an exported site: its lines, from the address and from what index.js says.

import { element, linkTo, number } from "./dom.js";
import { conceptsOf, conceptUrl, labelUrl } from "./places.js";

const LONGEST_LIST = 60;

/** Three cells that tell what carries the concept best, or one that says why there is nothing to tell. */
function evidenceOf(row) {
  if (!row) return [element("td", { colspan: 3, class: "wrap missing" }, "This site has no page of it.")];
  const [, , label, selection, heldout, error] = row;
  if (label === null) return [element("td", { colspan: 3 }, "no label")];
  const held = element("td", {}, number(heldout));
  if (error !== null) held.append(element("small", {}, " ± ", number(error)));
  return [element("td", {}, linkTo(labelUrl(label), label)), element("td", {}, number(selection)), held];
}

function lineOf(name, note) {
  const [, path, cid] = name.match(/^\/?(.*)\/(\d+)$/) ?? [null, "", ""];
  const row = conceptsOf(path).get(Number(cid));
  const line = element("tr", { "data-name": name });
  if (row && row[2] !== null) {
    [line.dataset.label, line.dataset.iou_selection, line.dataset.iou_heldout] = [row[2], row[3], row[4] ?? ""];
  }
  const field = element("input", { "data-note": "", maxlength: 200, "aria-label": `note on ${name}` });
  field.value = note;
  const drop = element("button", { type: "button", "data-drop": "", "aria-label": `remove ${name} from the list` }, "remove");
  const address = row ? conceptUrl(path, row[0]) : null;
  line.append(element("td", {}, linkTo(address, name)), ...evidenceOf(row), element("td", {}, field), element("td", {}, drop));
  return line;
}

const asked = new URLSearchParams(location.search);
const notes = asked.getAll("n");
const names = asked.getAll("c").slice(0, LONGEST_LIST);
if (names.length) {
  const lines = names.map((name, n) => lineOf(name.slice(0, 80), (notes[n] ?? "").slice(0, 200)));
  document.querySelector("[data-lines]").replaceChildren(...lines);
}
