// One JSON request per line on stdin, one JSON answer per line on stdout.
//   {"encode": payload}  -> {"ok": base64}
//   {"decode": base64}   -> {"ok": payload}
// What JSON lacks is tagged: {"$long": "1"}, {"$bytes": base64}, {"$float": "NaN"}.
import { createInterface } from "node:readline";
import Long from "long";
import sparkplug from "sparkplug-payload";

const { encodePayload, decodePayload } = sparkplug.get("spBv1.0");

function fromTagged(value) {
  if (Array.isArray(value)) return value.map(fromTagged);
  if (value === null || typeof value !== "object") return value;
  if ("$long" in value) return Long.fromString(value.$long, !value.$long.startsWith("-"));
  if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
  if ("$float" in value) return Number(value.$float);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fromTagged(v)]));
}

function toTagged(value) {
  if (Long.isLong(value)) return { $long: value.toString() };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (typeof value === "number" && !Number.isFinite(value)) return { $float: String(value) };
  if (Array.isArray(value)) return value.map(toTagged);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, toTagged(v)]));
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const request = JSON.parse(line);
    if ("encode" in request) {
      const bytes = encodePayload(fromTagged(request.encode));
      answer = { ok: Buffer.from(bytes).toString("base64") };
    } else {
      answer = { ok: toTagged(decodePayload(Buffer.from(request.decode, "base64"))) };
    }
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
