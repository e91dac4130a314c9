// One JSON request per line on stdin, one JSON answer per line on stdout.
//   {"encode": payload}  -> {"ok": base64}
//   {"decode": base64}   -> {"ok": payload}
// What JSON lacks is tagged (tagged.mjs).
import { createInterface } from "node:readline";
import sparkplug from "sparkplug-payload";
import { fromTagged, toTagged } from "./tagged.mjs";

const { encodePayload, decodePayload } = sparkplug.get("spBv1.0");

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
