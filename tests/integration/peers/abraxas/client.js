// A client with abraxas, from npm. It prints a transcript that the other languages' clients print too, and nothing else:
// `node client.js PORT results|text [FUNCTION]`, `node client.js PORT progress|exception`,
// `node client.js PORT background FILE`, `node client.js PORT queue|join|admin FUNCTION`. The library gives progress
// as a fraction, and always asks for exceptions.
"use strict";

const fs = require("fs");
const { Client } = require("abraxas");

const [port, mode, subject] = process.argv.slice(2);
const client = Client.connect({ host: "127.0.0.1", port: Number(port) });
// Only jobs in the foreground keep its connection, and with it the program, alive.
const awake = setInterval(() => {}, 1000);

async function answer(name, workload, options = {}) {
    try {
        return (await client.submitJob(name, options, workload)).toString();
    } catch (error) {
        return `${error.name}: ${error.message}`;
    }
}

async function text(name = "reverse") {
    console.log(`normal: ${await answer(name, "Rasmus")}`);
    for (const priority of ["high", "low"]) console.log(`${priority}: ${await answer(name, "Rasmus", { priority })}`);
}

async function results(name = "reverse") {
    await text(name);
    const workload = Buffer.from("\0\x01zero\xff\n".repeat(1 << 17), "latin1");
    const result = await client.submitJob(name, workload);
    console.log("large:", result.equals(Buffer.from(workload).reverse()) ? `${result.length} bytes reversed` : "wrong");
}

async function progress() {
    const task = client.submitJob("slow_reverse", "Rasmus");
    task.on("status", (fraction) => console.log(`${Math.round(fraction * 10)}/10`));
    console.log(`complete: ${await task}`);
    console.log("all tasks ended");
}

async function exception() {
    console.log((await answer("word_count", Buffer.from([0xff]))).replace("JobException", "exception"));
    console.log("all tasks ended");
    const ended = await answer("word_count", Buffer.from([0xff]));
    console.log("blocking:", ended.startsWith("JobException") ? "exception" : ended);
}

function ask(question, ...subjects) {
    return new Promise((resolve, reject) =>
        client[question](...subjects, (error, answer) => (error ? reject(error) : resolve(answer)))
    );
}

// The function `gate` reports 3 of 10 and then waits until the file that its workload names is there.
async function background(file) {
    const handle = String(await client.submitJobBg("gate", file));
    const statusOf = async () => Object.values(await ask("getStatus", handle)).join(" ");
    while ((await statusOf()) !== "1 1 0.3") await new Promise((resolve) => setTimeout(resolve, 5));
    console.log("running, 3/10");
    fs.writeFileSync(file, "");
    let status;
    while ((status = await statusOf()).startsWith("1")) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(status === "0 0 0" ? "unknown" : status);
}

// Four submissions that are three jobs, one in each queue.
async function queue(name) {
    const handles = {};
    for (const priority of ["low", "normal", "high", "normal"]) {
        const options = { uniqueid: `${name} ${priority}`, ...(priority === "normal" ? {} : { priority }) };
        const handle = String(await client.submitJobBg(name, options, priority));
        if (priority === "normal") console.log("normal:", handles[priority] === handle ? "coalesced" : "created");
        handles[priority] = handle;
    }
}

// A job in the foreground, which others wait for too.
async function join(name) {
    console.log(`joined: ${await answer(name, "mine", { uniqueid: `${name} shared` })}`);
}

// What the server says of the function and of this connection.
async function admin(name) {
    client.setClientId("abraxas");
    const { inqueue, running, workers } = (await ask("status"))[name];
    console.log(`status: ${inqueue} ${running} ${workers}`);
    const connections = await ask("workers");
    console.log("connections:", connections.filter((one) => one.clientid === "abraxas").length);
}

const modes = { results, text, progress, exception, background, queue, join, admin };
client.once("connect", async () => {
    await modes[mode](subject);
    client.disconnect();
    clearInterval(awake);
});
