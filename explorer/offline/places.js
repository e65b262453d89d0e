// Where pages and answers are in a folder: answers are scripts, since a browser lets a page of a folder fetch nothing.

const root = new URL(".", document.querySelector("header .home").href).href;

/** What index.js says, or nothing on pages without it. */
export const index = globalThis.atlasIndex ?? { labels: [], concepts: {}, images: [] };

const files = new Map(index.labels.map(([label, file]) => [label, file]));
const there = new Map();

/** What index.js says of each concept of a dictionary that has a page here, by its number. */
export function conceptsOf(path) {
  if (!there.has(path)) there.set(path, new Map((index.concepts[path] ?? []).map((row) => [row[0], row])));
  return there.get(path);
}

export const fileUrl = (file) => root + file;

/** The address of a page; null where it has none here. */
export const conceptUrl = (path, cid) => (conceptsOf(path).has(cid) ? `${root}concept/${path}/${cid}.html` : null);

export const labelUrl = (label) => (files.has(label) ? root + files.get(label) : null);

export const listUrl = (asked) => `${root}list.html?${asked}`;

/** Codes as bytes in base64 (of each cell and latent the CID in two or four bytes, its activation in four) to pairs. */
export function unpacked({ cells, cid_bytes: size, ...rest }) {
  const view = new DataView(Uint8Array.from(atob(cells), (letter) => letter.charCodeAt(0)).buffer);
  const [rows, columns] = rest.grid;
  const each = size + 4;
  const perCell = view.byteLength / each / (rows * columns);
  const cidAt = size === 2 ? (at) => view.getUint16(at, true) : (at) => view.getUint32(at, true);
  const pairOf = (n) => [cidAt(each * n), view.getFloat32(each * n + size, true)];
  const pairs = Array.from({ length: rows * columns }, (_, cell) =>
    Array.from({ length: perCell }, (__, i) => pairOf(cell * perCell + i)).filter(([, value]) => value > 0));
  return { ...rest, cells: pairs };
}

globalThis.atlasAnswer = (script, value) => { script.answer = value; };

/** The codes of an image at a site. */
export function codesAt(address) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = `${address}.js`;
    script.addEventListener("load", () => {
      if (script.answer.said) failed(new Error(script.answer.said));
      else done(unpacked(script.answer));
    });
    script.addEventListener("error", () => failed(new Error("The codes of this place are not in this site.")));
    document.head.append(script);
  });
}
