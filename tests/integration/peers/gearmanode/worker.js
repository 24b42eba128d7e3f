// A worker with gearmanode, from npm: `node worker.js PORT PREFIX COUNT` serves COUNT jobs of the functions
// PREFIX_reverse, PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing. Results are text: the library
// takes them for such.
"use strict";

const { gearmanode } = require("./silent");

const [port, prefix, count] = process.argv.slice(2);
const worker = gearmanode.worker({ host: "127.0.0.1", port: Number(port), withUnique: true });
let left = Number(count);
const functions = {
    reverse: (job) => job.workComplete(Buffer.from(job.payload).reverse()),
    steps: (job) => {
        job.reportStatus(1, 2);
        job.sendWorkData("\0piece");
        job.reportWarning("careful");
        job.reportStatus(2, 2);
        job.workComplete("done");
    },
    fail: (job) => job.reportError(),
    throw: (job) => job.reportException(`no ${job.payload}`),
};

// Closing the connection discards what the server has not read yet: so it is asked first.
function leave() {
    worker.jobServers[0].once("echo", () => worker.close());
    worker.jobServers[0].echo("read all");
}

for (const [name, run] of Object.entries(functions)) {
    worker.addFunction(`${prefix}_${name}`, (job) => {
        run(job);
        left -= 1;
        if (left === 0) leave();
    });
}
