// The search: labels nearest in meaning to the words. The study's embedder finds them, which the first time has to load.

import { element, linkTo, number } from "./dom.js";
import { askOnce } from "./maps.js";

const section = document.querySelector("[data-meaning]");
const said = section.querySelector("[data-said]");

/** The concepts that carry a label best, with their IoU, between commas. */
function carrying(best) {
  if (!best.length) return ["none"];
  return best.flatMap(({ url, path, cid, iou_heldout: iou }, place) => [
    place ? ", " : "", linkTo(url, `${path}/${cid}`), " (", number(iou), ")",
  ]);
}

const rowOf = ({ label, url, cosine, best }) => element(
  "tr", {}, element("td", {}, linkTo(url, label)), element("td", {}, number(cosine)),
  element("td", { class: "wrap" }, ...carrying(best)),
);

said.textContent = "The study's embedder is asked…";
try {
  const { labels } = await askOnce(section.dataset.meaning);
  section.querySelector("tbody").replaceChildren(...labels.map(rowOf));
  section.querySelector(".wide").hidden = !labels.length;
  said.textContent = labels.length ? "" : "No image is labelled yet.";
} catch (error) {
  said.textContent = error.message;
  said.className = "missing";
}
