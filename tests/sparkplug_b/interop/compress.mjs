// One JSON request per line on stdin, one JSON answer per line on stdout, by the methods of npm's
// sparkplug-client itself. It makes a client only with a connection, which is refused here.
//   {"compress": base64 of a payload, "algorithm": "GZIP" | "DEFLATE" | null}  -> {"ok": base64}
//   {"inflate": base64 of an outer payload} -> {"ok": base64 of the inner payload's bytes}
import { createInterface } from "node:readline";
import sparkplugClient from "sparkplug-client";

const client = sparkplugClient.newClient({
  serverUrl: "mqtt://127.0.0.1:1",
  username: "",
  password: "",
  groupId: "G",
  edgeNode: "N",
  clientId: "c",
  mqttOptions: { reconnectPeriod: 0 },
});
client.on("error", () => undefined);
client.client.end(true);

function answerTo(request) {
  if ("compress" in request) {
    const inner = Buffer.from(request.compress, "base64");
    const options = request.algorithm === null ? undefined : { algorithm: request.algorithm };
    const outer = client.compressPayload(inner, options);
    return Buffer.from(client.encodePayload(outer)).toString("base64");
  }
  const outer = client.decodePayload(Buffer.from(request.inflate, "base64"));
  return Buffer.from(client.decompressPayload(outer)).toString("base64");
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { ok: answerTo(JSON.parse(line)) };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
