// Keeps a page up to date: asks for its part that changes, and puts in what differs. Nothing else needs this script.
"use strict";
(() => {
  const live = document.getElementById("live");
  const connection = document.getElementById("connection");
  const root = document.body.dataset.root || "";
  const shortest = 1000;      // between two questions, ms
  let age = 0;                // an answer may be as old as that, ms: after an event we wait so long
  const withEvents = 10000;   // without an event we still ask so often
  let tag = "", manager = managerOf(live), failures = 0, asking = false, timer = 0, stream = null, lastAsked = 0;
  let changed = 0, soon = false;  // when something has happened last, and whether the next question is because of that

  // --- times: relative, with the exact one in the reader's zone on hover

  function words(seconds) {
    for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]])
      if (seconds >= 2 * length) return Math.round(seconds / length) + " " + unit;
    return Math.max(0, Math.round(seconds)) + " s";
  }

  const clockForm = { hour: "2-digit", minute: "2-digit" };

  function clockOf(date, withDay) {
    return date.toLocaleString([], withDay ? { weekday: "short", ...clockForm } : clockForm);
  }

  function tellTimes() {
    const now = Date.now();
    for (const time of document.querySelectorAll("time[datetime]")) {
      const moment = Date.parse(time.dateTime);
      if (Number.isNaN(moment)) continue;
      const isNew = time.told !== time.dateTime;  // an answer may have put in another one
      if (isNew) time.title = new Date(moment).toLocaleString();
      time.told = time.dateTime;
      if ("clock" in time.dataset || "day" in time.dataset) {
        if (isNew) time.textContent = clockOf(new Date(moment), "day" in time.dataset);
        continue;
      }
      const past = (now - moment) / 1000;
      let text = words(Math.abs(past));
      if (!("for" in time.dataset)) text = past >= 0 ? text + " ago" : "in " + text;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // --- putting in what differs, so that focus, unfolded texts and what is typed stay

  function morph(old, fresh) {
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details") && name !== "title") old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if ("apart" in old.dataset) return;  // it is asked for by itself
    if (old.localName === "time") return;  // its text is told by its attributes
    if (old.localName === "textarea" || (old.localName === "details" && old.contains(document.activeElement) && old.querySelector("form"))) return;
    morphChildren(old, fresh);
  }

  function morphChildren(old, fresh) {
    let next = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      while (next && !isSame(next, child) && !isWanted(next, child)) {
        const gone = next;
        next = next.nextSibling;
        gone.remove();
      }
      if (!next || !isSame(next, child)) {
        old.insertBefore(document.importNode(child, true), next);
        continue;
      }
      if (child.nodeType === Node.ELEMENT_NODE) morph(next, child);
      else if (next.nodeValue !== child.nodeValue) next.nodeValue = child.nodeValue;
      next = next.nextSibling;
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  }

  function key(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    return node.dataset.key || node.id || (node.firstElementChild && node.localName === "li" && node.firstElementChild.getAttribute("href")) || "";
  }

  const isSame = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

  // Whether an old node comes again after the fresh one: then the fresh one is put before it.
  function isWanted(node, child) {
    const wanted = key(node);
    for (let other = wanted && child.nextSibling; other; other = other.nextSibling)
      if (isSame(node, other)) return true;
    return false;
  }

  // --- asking

  function managerOf(part) {
    const found = part && part.querySelector("[data-manager]");
    return found ? found.dataset.manager : "";
  }

  function say(text) {
    connection.textContent = text;
    connection.hidden = !text;
    document.body.classList.toggle("stale", failures > 0);
  }

  async function ask() {
    if (document.hidden) return;
    if (asking) return;
    asking = true;
    soon = false;
    lastAsked = Date.now();
    try {
      const headers = { "X-Part": "1" };
      if (tag) headers["If-None-Match"] = tag;
      const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(10000) });
      if (answer.status === 401) return leave();
      if ((answer.headers.get("Content-Type") || "").startsWith("text/html")) take(await answer.text(), answer);
      else if (answer.status !== 304) throw new Error(answer.statusText);
      if (failures) say("");
      failures = 0;
      say(connection.dataset.said || "");
    } catch {
      failures += 1;
      connection.dataset.said = "";
      say("The manager does not answer. What you see is how it was; we go on asking.");
    } finally {
      asking = false;
      plan();
    }
  }

  function take(text, answer) {
    tag = answer.headers.get("ETag") || "";
    age = Number(answer.headers.get("X-Part-Age")) || 0;
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    const other = managerOf(fresh);
    if (manager && other && other !== manager) {
      connection.dataset.said = "The manager was restarted at " + new Date().toLocaleTimeString() + ".";
      follow();
    }
    manager = other || manager;
    morphChildren(live, fresh);
    tellTimes();
  }

  function leave() {
    say("You are logged out: ");
    const link = document.createElement("a");
    link.href = root + "/login?next=" + encodeURIComponent(location.pathname.slice(root.length) + location.search);
    link.textContent = "log in again";
    connection.append(link, ".");
    if (stream) stream.close();
    clearTimeout(timer);
    live.dataset.every = "0";
  }

  function plan() {
    clearTimeout(timer);
    soon = false;
    const every = Number(live.dataset.every) * 1000;
    if (document.hidden || !every) return;
    let pause = isFollowing() && !failures ? Math.max(every, withEvents) : every;
    if (changed && changed + age >= lastAsked) {  // the last answer may be from before
      soon = true;
      pause = Math.min(pause, Math.max(changed + age, lastAsked + shortest) - Date.now());
    }
    timer = setTimeout(ask, Math.max(pause, 0));
  }

  function happened() {
    changed = Date.now();
    if (!soon && !asking) plan();
  }

  // --- events: something has happened, so ask

  const isFollowing = () => stream !== null && stream.readyState === EventSource.OPEN;

  function follow() {
    if (stream) stream.close();
    if (!("events" in live.dataset)) return;
    stream = new EventSource(root + "/api/v1/events");
    stream.onerror = happened;
    for (const kind of ["troubles", "servers", "pool", "pool-gone", "decision", "workers", "figures", "reset", "action"])
      stream.addEventListener(kind, happened);
  }

  // --- charts: asked for by themselves, and seldom

  const withCharts = 15000;

  async function askApart() {
    if (document.hidden || failures) return;
    for (const part of document.querySelectorAll("[data-apart]")) {
      try {
        const headers = { "X-Part": "1" };
        if (part.tag) headers["If-None-Match"] = part.tag;
        const answer = await fetch(part.dataset.apart, { headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(10000) });
        if (!answer.ok) continue;
        part.tag = answer.headers.get("ETag") || "";
        morphChildren(part, new DOMParser().parseFromString(await answer.text(), "text/html").body);
        tellTimes();
      } catch { /* the question for the page itself tells of it */ }
    }
  }

  // Under the pointer, a chart's legend tells the figures of that time.
  document.addEventListener("pointermove", (event) => {
    const plot = event.target.closest && event.target.closest(".plot");
    for (const told of document.querySelectorAll(".chart.told")) if (!plot || !told.contains(plot)) tellOf(told, -1);
    if (!plot) return;
    const { left, width } = plot.getBoundingClientRect();
    tellOf(plot.closest(".chart"), Math.max(0, (event.clientX - left) / width));
  });

  function tellOf(chart, share) {
    const { begin, step } = chart.parentElement.dataset;
    let place = 0;
    for (const value of chart.querySelectorAll("b[data-told]")) {
      const told = value.dataset.told.split("|");
      place = Math.min(told.length - 1, Math.round(share * (told.length - 1)));
      value.dataset.now = value.dataset.now || value.textContent;
      value.textContent = share >= 0 ? told[place] : value.dataset.now;
      if (share < 0) delete value.dataset.now;
    }
    const at = new Date((Number(begin) + place * step) * 1000);
    chart.classList.toggle("told", share >= 0);
    chart.querySelector("h3").dataset.at = share >= 0 ? clockOf(at, step > 60) : "";
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      if (stream) stream.close();
      stream = null;
    } else {
      follow();
      ask();
      askApart();
    }
  });

  // A box that stands for all boxes of its form.
  document.addEventListener("change", (event) => {
    if (!event.target.matches("input[data-all]")) return;
    for (const box of event.target.form.querySelectorAll("input[type=checkbox][name]")) box.checked = event.target.checked;
  });

  tellTimes();
  setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);
  if (live && Number(live.dataset.every)) {
    follow();
    plan();
    setInterval(askApart, withCharts);
  }
})();
