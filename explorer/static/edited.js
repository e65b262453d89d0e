// The page of an edit: where the edit and its random twin changed the image, on one scale.

const shown = document.querySelector("[data-edited]");

/** The pixels of one of the pictures. */
async function pixelsOf(name) {
  const image = shown.querySelector(`[data-picture="${name}"]`);
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** The largest change of each pixel's colours, 0 to 255, drawn as grey. */
async function draw(canvas) {
  const [before, other] = await Promise.all([pixelsOf("before"), pixelsOf(canvas.dataset.difference)]);
  canvas.width = before.width;
  canvas.height = before.height;
  const picture = new ImageData(before.width, before.height);
  for (let at = 0; at < before.data.length; at += 4) {
    const change = Math.max(...[0, 1, 2].map((colour) => Math.abs(before.data[at + colour] - other.data[at + colour])));
    picture.data.set([change, change, change, 255], at);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.dataset.drawn = "yes";
}

shown.querySelectorAll("[data-difference]").forEach(draw);
