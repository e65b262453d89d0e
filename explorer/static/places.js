// Where pages and answers are. An exported site has a module of this name of its own, which finds them in its folder.

export const conceptUrl = (path, cid) => `/${path}/${cid}`;

export const labelUrl = (label) => `/label/${encodeURIComponent(label)}`;

export const listUrl = (asked) => `/list?${asked}`;

/** The codes of an image at a site. Rejects with the server's own sentence. */
export async function codesAt(address) {
  const response = await fetch(address);
  const found = await response.json();
  if (!response.ok) throw new Error(found.said);
  return found;
}
