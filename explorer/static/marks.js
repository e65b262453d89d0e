// Concepts that were marked in this browser, with a note on each: kept by study.

import { listUrl } from "./places.js";

const study = document.querySelector("header .home").textContent;
const place = `marks of ${study}`;

/** [name, note] of each, in the order in which they were marked. */
export function marked() {
  try {
    const kept = JSON.parse(localStorage.getItem(place) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => Array.isArray(one) && one.length === 2).map((one) => one.map(String)) : [];
  } catch {
    return [];
  }
}

/** Keep these and no others. */
export function keep(marks) {
  localStorage.setItem(place, JSON.stringify(marks));
}

/** The address of the list page that carries them. */
export function addressOf(marks) {
  const asked = new URLSearchParams();
  marks.forEach(([name, note]) => {
    asked.append("c", name);
    asked.append("n", note);
  });
  return listUrl(asked);
}

const button = document.querySelector("[data-mark]");
if (button) {
  const name = button.dataset.mark;
  const show = () => {
    const on = marked().some(([one]) => one === name);
    button.setAttribute("aria-pressed", on);
    button.textContent = on ? "marked" : "mark";
  };
  button.addEventListener("click", () => {
    const others = marked().filter(([one]) => one !== name);
    keep(others.length === marked().length ? [...others, [name, ""]] : others);
    show();
  });
  show();
}
