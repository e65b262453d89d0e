// The search of an exported site: what the server's search finds, of what has a page here, from index.js.

import { element, linkTo, number } from "./dom.js";
import { conceptsOf, conceptUrl, fileUrl, index, labelUrl } from "./places.js";

const [LABELS, CONCEPTS, IMAGES, LONGEST] = [12, 100, 48, 200];

/** Where the longest run that two words share begins in each, within bounds, and its length: the earliest of equals. */
function longestRun(a, b, [aLow, aHigh, bLow, bHigh]) {
  let best = [aLow, bLow, 0];
  for (let i = aLow; i < aHigh; i += 1) {
    for (let j = bLow; j < bHigh; j += 1) {
      let size = 0;
      while (i + size < aHigh && j + size < bHigh && a[i + size] === b[j + size]) size += 1;
      if (size > best[2]) best = [i, j, size];
    }
  }
  return best;
}

/** Letters in runs that two words share, the longest first, then those on either side of it (Ratcliff and Obershelp). */
function shared(a, b, [aLow, aHigh, bLow, bHigh] = [0, a.length, 0, b.length]) {
  const [i, j, size] = longestRun(a, b, [aLow, aHigh, bLow, bHigh]);
  if (!size) return 0;
  return size + shared(a, b, [aLow, i, bLow, j]) + shared(a, b, [i + size, aHigh, j + size, bHigh]);
}

/** Known words that are spelt like one, the most alike first; of equals the last in the alphabet, as the server has it. */
function alike(wanted, known) {
  const a = [...wanted];
  const scored = known.map((word) => {
    const b = [...word];
    return [(2 * shared(b, a)) / (a.length + b.length), word];
  }).filter(([score]) => score >= 0.7);
  scored.sort(([one, x], [other, y]) => other - one || (x < y ? 1 : -1));
  return scored.slice(0, LABELS).map(([, word]) => word);
}

/** Labels that are the question or one of its words, then those that begin like it, hold it, or are spelt alike. */
export function labelsFor(asked, known) {
  const wanted = asked.toLowerCase();
  const words = new Set(wanted.split(" "));
  if (!wanted || /^\d+$/.test(wanted)) return [];
  const folded = known.map((label) => [label, label.toLowerCase()]);
  const those = (test) => folded.filter(([, low]) => test(low)).map(([label]) => label);
  const ordered = [
    ...those((low) => low === wanted),
    ...those((low) => words.has(low)),
    ...those((low) => low.startsWith(wanted)),
    ...those((low) => low.includes(wanted)),
    ...alike(wanted, known),
  ];
  return [...new Set(ordered)].slice(0, LABELS);
}

/** Concepts that bear the number that is asked for, as [path, row of index.js], or the one of that address. */
export function conceptsFor(asked) {
  const [, site, last] = asked.match(/^\/*(?:(.*)\/)?(\d{1,9})\/*$/) ?? [null, "", ""];
  if (!last) return [];
  return Object.keys(index.concepts)
    .filter((path) => (!site || site === path) && conceptsOf(path).has(Number(last)))
    .map((path) => [path, conceptsOf(path).get(Number(last))])
    .slice(0, CONCEPTS);
}

/** Images of that number, or else those whose captions hold every word, with kept ones first. */
export function imagesFor(asked) {
  const named = asked.replace(/^\/+|\/+$/g, "");
  if (/^\d{1,9}$/.test(named)) {
    const numbered = index.images.filter(([id]) => id === Number(named));
    if (numbered.length) return numbered;
  }
  const words = asked.toLowerCase().split(" ").filter(Boolean);
  if (!words.length) return [];
  const found = index.images.filter(([, caption]) => words.every((word) => caption.toLowerCase().includes(word)));
  return found.sort(([a, , , keptA], [b, , , keptB]) => keptB - keptA || a - b).slice(0, IMAGES);
}

function section(title, content) {
  return element("section", {}, element("h2", {}, title), content);
}

function table(names, lines) {
  const head = element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { class: "wrap" }, name))));
  const body = element("tbody", {}, ...lines.map((cells) => element("tr", {}, ...cells)));
  return element("div", { class: "wide" }, element("table", {}, head, body));
}

function labelLine(label) {
  const [, , best] = index.labels.find(([name]) => name === label);
  const cell = element("td", { class: "wrap" });
  best.forEach(([path, cid, iou], n) => {
    cell.append(n ? ", " : "", linkTo(conceptUrl(path, cid), `${path}/${cid}`), " (", number(iou), ")");
  });
  if (!best.length) cell.append("none");
  return [element("td", {}, linkTo(labelUrl(label), label)), cell];
}

function imageLine([id, caption, picture, kept, page]) {
  const words = element("span", {}, `${id}: ${caption}`);
  const shown = picture ? [element("img", { src: fileUrl(picture), alt: "", loading: "lazy", width: 64, height: 64 })] : [];
  return element("li", {}, page ? element("a", { href: fileUrl(page) }, ...shown, words) : element("span", {}, ...shown, words));
}

/** Fill the page with what was found. */
function tell(asked) {
  const labels = labelsFor(asked, index.labels.map(([label]) => label));
  const concepts = conceptsFor(asked);
  const images = imagesFor(asked);
  const found = document.querySelector("[data-found]");
  if (asked) document.querySelector("[data-asked]").textContent = `“${asked}”`;
  document.querySelector("[name=q]").value = asked;
  found.replaceChildren();
  if (labels.length) {
    const told = "concepts that carry it best, by the half of the images that chooses (IoU on the other half)";
    found.append(section("Labels", table(["label", told], labels.map(labelLine))));
  }
  if (concepts.length) {
    const lines = concepts.map(([path, [cid, label]]) => [
      element("td", {}, linkTo(conceptUrl(path, cid), `${path}/${cid}`)),
      element("td", {}, label ?? "no label"),
    ]);
    found.append(section("Concepts of that number", table(["concept", "label"], lines)));
  }
  if (images.length) found.append(section("Images", element("ul", { class: "captioned" }, ...images.map(imageLine))));
  if (!found.childElementCount) {
    const said = asked ? "No label, concept or caption of this site is spelt like that." : "Give a label, a concept's number or words of a caption.";
    found.append(element("p", { class: "missing" }, `${said} `, element("a", { href: fileUrl("index.html") }, "All labels")));
  }
  found.dataset.told = asked;
}

tell((new URLSearchParams(location.search).get("q") ?? "").slice(0, LONGEST).trim().split(/\s+/).join(" "));
