// Making elements out of text alone: nothing that a table holds becomes markup.

export function element(name, given = {}, ...content) {
  const made = document.createElement(name);
  Object.entries(given).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...content);
  return made;
}

/** A link, or where there is no page the words alone. */
export const linkTo = (address, words) => (address === null ? String(words) : element("a", { href: address }, words));

/** A number in short, with all its digits to a pointer that rests on it. */
export function number(value) {
  if (value === null) return element("span", { class: "none", title: "none" }, "–");
  return element("data", { value, title: value }, String(Number(value.toPrecision(3))));
}
