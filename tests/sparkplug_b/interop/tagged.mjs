// What JSON lacks is tagged: {"$long": "1"}, {"$bytes": base64}, {"$float": "NaN"}.
import Long from "long";

export function fromTagged(value) {
  if (Array.isArray(value)) return value.map(fromTagged);
  if (value === null || typeof value !== "object") return value;
  if ("$long" in value) return Long.fromString(value.$long, !value.$long.startsWith("-"));
  if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
  if ("$float" in value) return Number(value.$float);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fromTagged(v)]));
}

export function toTagged(value) {
  if (Long.isLong(value)) return { $long: value.toString() };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (typeof value === "number" && !Number.isFinite(value)) return { $float: String(value) };
  if (Array.isArray(value)) return value.map(toTagged);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, toTagged(v)]));
}
