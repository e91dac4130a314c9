// An edge node made of the npm package sparkplug-client, driven over stdin.
//   node edge.mjs '{"url", "group", "node", "birth": payload, "devices": {id: payload}, ...}'
// stdin:  {"node": payload}, {"device": id, "data": payload}, {"device": id, "death": payload},
//         {"drop": true} (the socket breaks, the client connects again), {"stop": true}
// stdout: {"event": "born"} after each birth, {"command": payload, "device": id or null}
import { createInterface } from "node:readline";
import sparkplugClient from "sparkplug-client";
import { fromTagged, toTagged } from "./tagged.mjs";

const options = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const fresh = (payload) => ({ timestamp: Date.now(), ...fromTagged(structuredClone(payload)) });

const client = sparkplugClient.newClient({
  serverUrl: options.url,
  username: options.username ?? "",
  password: options.password ?? "",
  groupId: options.group,
  edgeNode: options.node,
  clientId: `npm-edge-${options.node}`,
  publishDeath: true,
  mqttOptions: { reconnectPeriod: 100 },
});

function giveBirth() {
  client.publishNodeBirth(fresh(options.birth));
  for (const [device, payload] of Object.entries(options.devices)) {
    client.publishDeviceBirth(device, fresh(payload));
  }
  say({ event: "born" });
}

client.on("birth", giveBirth);
client.on("error", (error) => say({ event: "error", error: String(error) }));
client.on("dcmd", (device, payload) => say({ device, command: toTagged(payload) }));
client.on("ncmd", (payload) => {
  say({ device: null, command: toTagged(payload) });
  const asked = payload.metrics.some((m) => m.name === "Node Control/Rebirth" && m.value === true);
  if (asked) giveBirth();
});

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.node) client.publishNodeData(fresh(request.node));
  else if (request.data) client.publishDeviceData(request.device, fresh(request.data));
  else if (request.death) client.publishDeviceDeath(request.device, fresh(request.death));
  else if (request.drop) client.client.stream.destroy();
  else if (request.stop) {
    client.stop();
    break;
  }
}
