// A host application made of the npm packages sparkplug-client and mqtt, driven over stdin.
//   node host.mjs '{"url": ..., "hostId": ..., "group": ..., "username": ..., "password": ...}'
// stdin:  {"state": {"online": bool, "timestamp": ms}}  STATE, QoS 1, retained
//         {"publish": {"topic", "payload", "qos"}}                          any Sparkplug payload
//         {"stop": true}
// stdout: {"event": "ready"}, then {"topic", "payload"} for each message of the group
// sparkplug-client is an edge node's client: its Will and id are those of Npm/HOSTID, which it never
// gives birth to, and it cannot have a STATE Will. So STATE has a connection of its own.
import { createInterface } from "node:readline";
import mqtt from "mqtt";
import sparkplugClient from "sparkplug-client";
import sparkplugPayload from "sparkplug-payload";
import { fromTagged, toTagged } from "./tagged.mjs";

const { encodePayload } = sparkplugPayload.get("spBv1.0");
const options = JSON.parse(process.argv[2]);
const { username = "", password = "" } = options;
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const since = Date.now();
const stateTopic = `spBv1.0/STATE/${options.hostId}`;
const body = (online, timestamp) => JSON.stringify({ online, timestamp });
const state = mqtt.connect(options.url, {
  clientId: `npm-state-${options.hostId}`,
  clean: true,
  reconnectPeriod: 50,
  username,
  password,
  will: { topic: stateTopic, payload: body(false, since), qos: 1, retain: true },
});

const reader = sparkplugClient.newClient({
  serverUrl: options.url,
  username,
  password,
  groupId: "Npm",
  edgeNode: options.hostId,
  clientId: `npm-host-${options.hostId}`,
  mqttOptions: { reconnectPeriod: 50 },
});
reader.on("message", (topic, payload) => say({ topic, payload: toTagged(payload) }));
reader.on("error", (error) => say({ event: "error", error: String(error) }));
reader.on("connect", () => {
  reader.subscribeTopic(`spBv1.0/${options.group}/#`, { qos: 1 }, () => say({ event: "ready" }));
});

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.state) {
    const { online, timestamp } = request.state;
    state.publish(stateTopic, body(online, timestamp ?? since), { qos: 1, retain: true });
  } else if (request.publish) {
    const { topic, payload, qos } = request.publish;
    reader.client.publish(topic, Buffer.from(encodePayload(fromTagged(payload))), { qos: qos ?? 0 });
  } else if (request.stop) {
    reader.stop();
    state.publish(stateTopic, body(false, Date.now()), { qos: 1, retain: true }, () => state.end());
    break;
  }
}
