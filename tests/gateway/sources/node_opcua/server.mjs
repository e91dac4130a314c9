// node-opcua as a plant: an OPC UA server that shares no code with ours. One JSON object as the
// only argument (all keys optional but port and pki):
//   port, host ("127.0.0.1"), announced_host  where to listen, and what its endpoints say
//   pki              folder of its own for certificates and keys
//   certificate_file, key_file   its application certificate (PEM; else it makes one in pki)
//   application_uri  ("urn:factoryplus:test:node-opcua")
//   policies, modes  (["None"], ["None"]) e.g. ["Basic256Sha256"], ["Sign", "SignAndEncrypt"]
//   anonymous        (true); users: {"name": "password"}
//   accept_clients   (true) trust any client certificate; accept_users the same for user certificates
//   variables        (10) Double variables ns=1;s=V0, V1, ... in the folder ns=1;s=Plant
//   period_ms        (0: only by command) every so often each variable goes up by one
//   history          (false) keep their history, or that of the first so many; history_values (10000) per variable
//   history_file     keep values and history over its death in this file, and go on from there
//   alarms           (false) a limit alarm ns=1;s=HighV0 on V0: active at 100 and above; V0 may be written and
//                    ns=1;s=Plant has a method ns=1;s=Double (input x, output doubled)
//   capabilities     ServerCapabilities of node-opcua, e.g. {"maxNodesPerRead": 10}
//   reverse_to       an address to dial with ReverseHello
// It prints {"ready": {...}} (its own log goes to standard error) and then answers one line of JSON for each on its standard input:
//   {"tick": N}                        all variables up by one, N times
//   {"write": [["V0", 1.5, ms], ...]}  values with their source time (ms since 1970, or null: now)
//   {"sessions": true}                 the number of sessions
//   {"stop": true}                     shut down in order
// It ends when its standard input does.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import * as opcua from "node-opcua";

console.log = console.info = console.warn = console.error; // standard output is for our answers

const wish = JSON.parse(process.argv[2]);
const {
    port,
    pki,
    host = "127.0.0.1",
    announced_host = host,
    certificate_file,
    key_file,
    application_uri = "urn:factoryplus:test:node-opcua",
    policies = ["None"],
    modes = ["None"],
    anonymous = true,
    users = {},
    accept_clients = true,
    accept_users = true,
    variables = 10,
    period_ms = 0,
    history = false,
    history_values = 10_000,
    history_file,
    alarms = false,
    capabilities = {},
    reverse_to,
} = wish;

const store = (name, accept) =>
    new opcua.OPCUACertificateManager({
        rootFolder: `${pki}/${name}`,
        automaticallyAcceptUnknownCertificate: accept,
        keySize: 2048,
        disableFileWatchers: true,
    });
const serverCertificateManager = store("server", accept_clients);
const userCertificateManager = store("users", accept_users);
await serverCertificateManager.initialize();
await userCertificateManager.initialize();

const server = new opcua.OPCUAServer({
    port,
    host,
    hostname: announced_host,
    ...(certificate_file ? { certificateFile: certificate_file, privateKeyFile: key_file } : {}),
    serverInfo: { applicationUri: application_uri },
    buildInfo: { productName: "node-opcua test plant", softwareVersion: "1" },
    securityPolicies: policies.map((name) => opcua.SecurityPolicy[name]),
    securityModes: modes.map((name) => opcua.MessageSecurityMode[name]),
    allowAnonymous: anonymous,
    userManager: { isValidUser: (name, password) => Object.hasOwn(users, name) && users[name] === password },
    serverCertificateManager,
    userCertificateManager,
    serverCapabilities: { maxSessions: 100, ...capabilities },
    maxConnectionsPerEndpoint: 100,
    ...(reverse_to
        ? { reverseConnect: { connections: [{ endpointUrl: reverse_to }], reconnectDelay: 200, maxReconnectDelay: 500 } }
        : {}),
});
await server.initialize();

const space = server.engine.addressSpace;
const namespace = space.getOwnNamespace();
const folder = namespace.addFolder(space.rootFolder.objects, { browseName: "Plant", nodeId: "s=Plant" });
const nodes = new Map();
const values = new Map();
const kept = new Map(); // name: [[value, ms], ...] of former runs
if (history_file && existsSync(history_file)) {
    // a kill may have left half a line at the end: that value was told to nobody
    for (const line of readFileSync(history_file, "utf8").split("\n").slice(0, -1)) {
        const [time, ...written] = JSON.parse(line);
        for (const [name, value] of written) kept.set(name, [...(kept.get(name) ?? []), [value, time]]);
    }
}

function historian(name, node) {
    const found = new opcua.VariableHistorian(node, { maxOnlineValues: history_values });
    for (const [value, time] of kept.get(name) ?? [])
        found._timeline.push(
            new opcua.DataValue({
                value: { dataType: opcua.DataType.Double, value },
                statusCode: opcua.StatusCodes.Good,
                sourceTimestamp: new Date(time),
            }),
        );
    return found;
}

for (let i = 0; i < variables; i++) {
    const name = `V${i}`;
    const historized = typeof history === "number" ? i < history : history;
    const node = namespace.addVariable({
        componentOf: folder,
        browseName: name,
        nodeId: `s=${name}`,
        dataType: "Double",
        value: { dataType: opcua.DataType.Double, value: kept.get(name)?.at(-1)[0] ?? 0 },
        accessLevel: historized ? "CurrentRead | CurrentWrite | HistoryRead" : "CurrentRead | CurrentWrite",
        userAccessLevel: historized ? "CurrentRead | CurrentWrite | HistoryRead" : "CurrentRead | CurrentWrite",
    });
    if (historized) space.installHistoricalDataNode(node, { maxOnlineValues: history_values, historian: historian(name, node) });
    nodes.set(name, node);
    values.set(name, kept.get(name)?.at(-1)[0] ?? 0);
}

function set(name, value, time) {
    values.set(name, value);
    nodes.get(name).setValueFromSource(
        { dataType: opcua.DataType.Double, value },
        opcua.StatusCodes.Good,
        time == null ? new Date() : new Date(time),
    );
}

if (alarms) {
    space.installAlarmsAndConditionsService();
    folder.setEventNotifier(1);
    server.engine.addressSpace.rootFolder.objects.server.addReference({ referenceType: "HasNotifier", nodeId: folder });
    folder.addReference({ referenceType: "HasEventSource", nodeId: nodes.get("V0") });
    namespace.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
        nodeId: "s=HighV0",
        browseName: "HighV0",
        conditionName: "HighV0",
        conditionSource: nodes.get("V0"),
        inputNode: nodes.get("V0"),
        optionals: ["ConfirmedState", "Confirm"],
        highHighLimit: 200.0,
        highLimit: 100.0,
        lowLimit: -100.0,
        lowLowLimit: -200.0,
    });
    const method = namespace.addMethod(folder, {
        nodeId: "s=Double",
        browseName: "Double",
        inputArguments: [{ name: "x", dataType: opcua.DataType.Double }],
        outputArguments: [{ name: "doubled", dataType: opcua.DataType.Double }],
    });
    method.bindMethod((inputs, _context, done) =>
        done(null, {
            statusCode: opcua.StatusCodes.Good,
            outputArguments: [{ dataType: opcua.DataType.Double, value: 2 * inputs[0].value }],
        }),
    );
}

let last_ms = 0;
function tick(count) {
    for (let i = 0; i < count; i++) {
        last_ms = Math.max(Date.now(), last_ms + 1); // history wants times that increase
        const written = [...values].map(([name, value]) => [name, value + 1]);
        if (history_file) appendFileSync(history_file, `${JSON.stringify([last_ms, ...written])}\n`);
        for (const [name, value] of written) set(name, value, last_ms);
    }
    return { value: values.get("V0") ?? null };
}

await server.start();
if (period_ms > 0) setInterval(() => tick(1), period_ms);

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({
    ready: {
        endpoint: `opc.tcp://${host}:${port}`,
        namespace: namespace.namespaceUri,
        certificate: server.getCertificate().toString("base64"),
    },
});

async function act(command) {
    if ("tick" in command) return tick(command.tick);
    if ("write" in command) {
        for (const [name, value, time] of command.write) set(name, value, time);
        return { written: command.write.length };
    }
    if ("sessions" in command) return { sessions: server.engine.currentSessionCount };
    if ("stop" in command) {
        await server.shutdown(0);
        return { stopped: true };
    }
    return { error: "unknown command" };
}

for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    say(await act(command));
    if ("stop" in command) break;
}
process.exit(0);
