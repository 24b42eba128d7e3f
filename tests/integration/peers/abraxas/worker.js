// A worker with abraxas, from npm: `node worker.js PORT PREFIX COUNT` serves COUNT jobs of the functions PREFIX_reverse,
// PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing. The library sends progress in percent, has
// WORK_DATA for its own server only, and makes every failure an exception.
"use strict";

const { Client } = require("abraxas");

const [port, prefix, count] = process.argv.slice(2);
const client = Client.connect({ host: "127.0.0.1", port: Number(port) });
let left = Number(count);
const endWork = client.endWork;
// Called when a job's end is on its way. Closing the connection discards what the server has not read yet: it is asked.
client.endWork = (handle) => {
    endWork.call(client, handle);
    left -= 1;
    if (left === 0) client.echo("read all").then(() => client.disconnect());
};
const functions = {
    reverse: (task) => Buffer.from(task.payload).reverse(),
    steps: (task) => {
        task.status(0.5);
        task.warn("careful");
        task.status(1);
        return "done";
    },
    throw: (task) => {
        throw new Error(`no ${task.payload}`);
    },
};

for (const [name, run] of Object.entries(functions)) {
    client.registerWorker(`${prefix}_${name}`, run);
}
