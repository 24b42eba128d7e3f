// A client with gearmanode, from npm. It prints a transcript that the other languages' clients print too, and nothing
// else: `node client.js PORT results|text [FUNCTION]`, `node client.js PORT progress|failure|exception`,
// `node client.js PORT background FILE`, `node client.js PORT queue|join FUNCTION`.
"use strict";

const fs = require("fs");
const { gearmanode } = require("./silent");

const [port, mode, subject] = process.argv.slice(2);
const client = gearmanode.client({ host: "127.0.0.1", port: Number(port) });
const ENDS = ["created", "complete", "failed", "exception", "error", "jobServerError"];

// Resolves with the name of the job's end, the job, and what came with the end.
function submit(name, workload, options = {}, onStatus = () => {}) {
    return new Promise((resolve) => {
        const job = client.submitJob(name, workload, options);
        job.on("status", onStatus);
        for (const end of ENDS) {
            if (end !== "created" || options.background) job.once(end, (data) => resolve([end, job, data]));
        }
    });
}

async function answer(name, workload, options) {
    const [end, job] = await submit(name, workload, options);
    return end === "complete" ? job.response.toString() : end;
}

async function text(name = "reverse") {
    for (const priority of ["normal", "high", "low"]) {
        console.log(`${priority}: ${await answer(name, "Rasmus", { priority: priority.toUpperCase() })}`);
    }
}

async function results(name = "reverse") {
    await text(name);
    const workload = Buffer.from("\0\x01zero\xff\n".repeat(1 << 17), "latin1");
    const [, job] = await submit(name, workload);
    const right = job.response && job.response.equals(Buffer.from(workload).reverse());
    console.log("large:", right ? `${job.response.length} bytes reversed` : "wrong");
}

async function progress() {
    const onStatus = (status) => console.log(`${status.percent_done_num}/${status.percent_done_den}`);
    const [end, job] = await submit("slow_reverse", "Rasmus", {}, onStatus);
    console.log(`${end}: ${job.response}`);
    console.log("all tasks ended");
}

async function failure() {
    console.log("plain:", await answer("word_count", Buffer.from([0xff])));
    console.log("afterwards:", await answer("reverse", "Rasmus"));
}

async function exception() {
    client.jobServers[0].setOption("exceptions");
    const [end, , data] = await submit("word_count", Buffer.from([0xff]));
    console.log(`${end}: ${data}`);
    console.log("all tasks ended");
    console.log("blocking:", await answer("word_count", Buffer.from([0xff])));
}

function statusOf(job) {
    return new Promise((resolve) => {
        job.once("status", (status) => resolve(Object.values(status).map(Number).join(" ")));
        job.getStatus();
    });
}

// The function `gate` reports 3 of 10 and then waits until the file that its workload names is there.
async function background(file) {
    const [, job] = await submit("gate", file, { background: true });
    while ((await statusOf(job)) !== "1 1 3 10") await new Promise((resolve) => setTimeout(resolve, 5));
    console.log("running, 3/10");
    fs.writeFileSync(file, "");
    let status;
    while ((status = await statusOf(job)).startsWith("1")) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(status === "0 0 0 0" ? "unknown" : status);
}

// Four submissions that are three jobs, one in each queue.
async function queue(name) {
    const handles = {};
    for (const priority of ["low", "normal", "high", "normal"]) {
        const options = { background: true, unique: `${name} ${priority}`, priority: priority.toUpperCase() };
        const [, job] = await submit(name, priority, options);
        if (priority === "normal") console.log("normal:", handles[priority] === job.handle ? "coalesced" : "created");
        handles[priority] = job.handle;
    }
}

// A job in the foreground, which others wait for too.
async function join(name) {
    console.log("joined:", await answer(name, "mine", { unique: `${name} shared` }));
}

({ results, text, progress, failure, exception, background, queue, join })[mode](subject).then(() => client.close());
