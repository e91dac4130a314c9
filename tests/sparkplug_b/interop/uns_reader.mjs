// A reader of the Unified Namespace that we did not write: mqtt.js, over MQTT 5.
//   node uns_reader.mjs URL -> "ready", then one JSON line per message
import mqtt from "mqtt";

const client = mqtt.connect(process.argv[2], { protocolVersion: 5, reconnectPeriod: 0 });
client.on("connect", () => client.subscribe("UNS/#", () => console.log("ready")));
client.on("message", (topic, payload, packet) => {
  const user = packet.properties?.userProperties ?? {};
  console.log(JSON.stringify({ topic, body: payload.toString(), user, retain: packet.retain }));
});
