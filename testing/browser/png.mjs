// Pictures with at most 256 colours: a quarter of the bytes, and nobody sees the difference in a page of flat colours.

import { deflateSync } from "node:zlib";

const MOST = 256;

/** The checksum of PNG. */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/** Colours that differ less than this in each channel share a place, unless they are among the most frequent. */
const FINE = 0xf8f8f8;

/** The most frequent colours as they are, and those that stand for all that are left, as `0xrrggbb`. */
function palette(pixels) {
  const counts = new Map();
  pixels.forEach((pixel) => counts.set(pixel, (counts.get(pixel) ?? 0) + 1));
  const colors = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  const chosen = new Set(colors.slice(0, MOST / 4));
  const groups = new Map();
  for (const color of colors.slice(MOST / 4)) {
    const group = groups.get(color & FINE) ?? { color, count: 0 };
    groups.set(color & FINE, { ...group, count: group.count + counts.get(color) });
  }
  for (const { color } of [...groups.values()].sort((one, other) => other.count - one.count)) {
    if (chosen.size < MOST) chosen.add(color);
  }
  return [...chosen];
}

const distance = (one, other) =>
  [16, 8, 0].reduce((sum, shift) => sum + (((one >> shift) & 255) - ((other >> shift) & 255)) ** 2, 0);

/** A picture of these pixels, each `0xrrggbb`. */
function png(width, height, pixels) {
  const colors = palette(pixels);
  const places = new Map(colors.map((color, place) => [color, place]));
  const nearest = (pixel) => {
    if (!places.has(pixel)) places.set(pixel, colors.reduce((best, color, place) => (distance(color, pixel) < distance(colors[best], pixel) ? place : best), 0));
    return places.get(pixel);
  };
  const rows = Buffer.alloc((width + 1) * height);
  pixels.forEach((pixel, at) => (rows[at + Math.floor(at / width) + 1] = nearest(pixel)));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const table = Buffer.from(colors.flatMap((color) => [color >> 16, (color >> 8) & 255, color & 255]));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("PLTE", table), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

/** The same picture with few colours. */
export async function smaller(browser, full) {
  const reader = await browser.newPage();
  const { width, height, pixels } = await reader.evaluate(async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    const pixels = Array.from({ length: data.length / 4 }, (_, at) => (data[4 * at] << 16) | (data[4 * at + 1] << 8) | data[4 * at + 2]);
    return { width: image.width, height: image.height, pixels };
  }, `data:image/png;base64,${full.toString("base64")}`);
  await reader.close();
  return png(width, height, pixels);
}
