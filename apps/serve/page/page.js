// The page: conversations kept in this browser, answered by this server's own /v1/chat/completions.
import { markdown } from "/markdown.js";

const $ = (id) => document.getElementById(id);
const kStore = "flashmoe.chats";

let chats = load();
let chat = chats[0] ?? begin();
let running = null;  // AbortController of the answer in the making

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(kStore) ?? "[]");
    return Array.isArray(kept) ? kept.filter((c) => Array.isArray(c?.turns)) : [];
  } catch {
    return [];
  }
}
function save() {
  try {
    localStorage.setItem(kStore, JSON.stringify(chats.filter((c) => c.turns.length > 0)));
  } catch {
    // A full or forbidden store: the page goes on without memory.
  }
}
function begin() {
  const fresh = { id: crypto.randomUUID?.() ?? String(Date.now()), turns: [] };
  chats.unshift(fresh);
  return fresh;
}
const titleOf = (c) => c.turns[0]?.content.slice(0, 60) || "New conversation";
const key = () => sessionStorage.getItem("flashmoe.key");
const headers = () => ({ "Content-Type": "application/json", ...(key() ? { Authorization: `Bearer ${key()}` } : {}) });

function button(label, action) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = label;
  node.onclick = action;
  return node;
}
function box(name, ...children) {
  const node = document.createElement("div");
  node.className = name;
  node.append(...children);
  return node;
}

function drawChats() {
  $("title").textContent = titleOf(chat);
  $("chats").replaceChildren(...chats.map((c) => {
    const remove = button("×", () => {
      chats = chats.filter((other) => other !== c);
      show(c === chat ? chats[0] ?? begin() : chat);
      save();
    });
    remove.setAttribute("aria-label", `Delete ${titleOf(c)}`);
    const row = box(c === chat ? "now" : "", button(titleOf(c), () => show(c)), remove);
    return row;
  }));
}
function showList(open) {
  $("side").classList.toggle("open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}
function show(which) {
  running?.abort();
  chat = which;
  showList(false);
  $("turns").replaceChildren(...chat.turns.map(drawTurn));
  $("turns").scrollTop = $("turns").scrollHeight;
  drawChats();
  $("text").focus();
}

// An answer's parts; called again for each piece that arrives.
function drawAnswer(node, turn) {
  const open = node.querySelector("details")?.open ?? false;
  const parts = [];
  if (turn.thinking) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = turn.content ? "Thoughts" : "Thinking…";
    details.open = open;
    details.append(summary, turn.thinking.trim());
    parts.push(details);
  }
  if (turn.note) parts.push(box("tools", turn.note));
  parts.push(...markdown(turn.content));
  for (const call of turn.calls ?? []) parts.push(box("call", `calls ${call.name}(${call.arguments})`));
  if (turn.fault) parts.push(box("fault", turn.fault));
  node.replaceChildren(...parts);
}
function drawTurn(turn) {
  const body = box("body");
  const tools = box("tools");
  const node = box(`turn ${turn.role}`, body, tools);
  if (turn.role === "user") {
    body.textContent = turn.content;
    tools.append(button("Edit", () => edit(turn)));
  } else {
    drawAnswer(body, turn);
    tools.append(button("Retry", () => retry(turn)), turn.told ?? "");
  }
  return node;
}

function edit(turn) {
  running?.abort();
  chat.turns.length = chat.turns.indexOf(turn);
  show(chat);
  $("text").value = turn.content;
  grow();
}
function retry(turn) {
  running?.abort();
  chat.turns.length = chat.turns.indexOf(turn);
  show(chat);
  answer();
}

const messages = () => chat.turns.map((turn) => turn.role === "user"
  ? { role: "user", content: turn.content }
  : { role: "assistant", content: turn.content, ...(turn.thinking ? { reasoning_content: turn.thinking } : {}) });

// Calls take(event) for each event of a stream, take(null, comment) for each comment.
async function readEvents(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith(":")) take(null, line.slice(1).trim());
      if (line.startsWith("data: ") && line !== "data: [DONE]") take(JSON.parse(line.slice(6)));
    }
  }
}

function takeEvent(turn, event) {
  if (event.error) throw new Error(event.error.message);
  if (event.usage) Object.assign(turn, { usage: event.usage, timings: event.timings });
  const delta = event.choices?.[0]?.delta ?? {};
  turn.note = "";
  turn.thinking += delta.reasoning_content ?? "";
  turn.content += delta.content ?? "";
  for (const part of delta.tool_calls ?? []) {
    const call = (turn.calls[part.index] ??= { name: "", arguments: "" });
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
}

// In the server's own times: events may arrive together.
function told({ usage, timings }) {
  if (!usage || !timings) return "";
  const known = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const rate = timings.predicted_ms > 0 ? `, ${(1000 * usage.completion_tokens / timings.predicted_ms).toFixed(1)} tok/s` : "";
  return `${usage.completion_tokens} tokens${rate}, first after ${(timings.first_token_ms / 1000).toFixed(2)} s, ` +
    `${known} of ${usage.prompt_tokens} prompt tokens known`;
}

async function request(turn, signal, draw) {
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers: headers(), signal,
    body: JSON.stringify({ messages: messages(), stream: true, stream_options: { include_usage: true }, enable_thinking: $("think").checked }),
  });
  if (response.status === 401) $("key").hidden = false;
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error?.message ?? `the server answered ${response.status}`);
  }
  await readEvents(response, (event, comment) => {
    if (event) takeEvent(turn, event);
    else turn.note = comment;
    draw();
  });
}

async function answer() {
  const turn = { role: "assistant", content: "", thinking: "", calls: [] };
  const control = running = new AbortController();
  const mine = chat;
  const node = drawTurn(turn);
  const turns = $("turns");
  turns.append(node);
  $("stop").hidden = false;
  const draw = () => {
    const atEnd = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80;
    drawAnswer(node.firstChild, turn);
    if (atEnd) turns.scrollTop = turns.scrollHeight;
  };
  try {
    await request(turn, control.signal, draw);
  } catch (error) {
    if (!control.signal.aborted) turn.fault = error.message;
  }
  turn.note = "";
  turn.told = told(turn);
  delete turn.timings;
  if (turn.content || turn.thinking || turn.calls.length > 0) mine.turns.push(turn);
  if (running === control) {
    running = null;
    $("stop").hidden = true;
  }
  node.replaceWith(drawTurn(turn));
  save();
}

function send() {
  const text = $("text").value.trim();
  if (!text || running) return;
  if ($("key").value) sessionStorage.setItem("flashmoe.key", $("key").value);
  const turn = { role: "user", content: text };
  chat.turns.push(turn);
  $("turns").append(drawTurn(turn));
  $("turns").scrollTop = $("turns").scrollHeight;
  $("text").value = "";
  grow();
  drawChats();
  save();
  answer();
}

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

async function watch() {
  try {
    const response = await fetch("/props", { headers: headers() });
    if (response.ok) {
      const { model, live, memory } = await response.json();
      $("model").textContent = `${model.id}, experts ${memory.experts}`;
      $("live").textContent = `${live.tok_per_s.toFixed(1)} tok/s · hits ${(100 * live.hit_rate).toFixed(0)} % · ${live.gb_per_s.toFixed(2)} GB/s`;
    } else if (response.status === 401) {
      $("key").hidden = false;
    }
  } catch {
    $("live").textContent = "the server does not answer";
  }
  setTimeout(watch, document.hidden ? 10_000 : 1_000);
}

$("ask").onsubmit = (event) => {
  event.preventDefault();
  send();
};
$("text").oninput = grow;
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
$("stop").onclick = () => running?.abort();
$("new").onclick = () => show(chat.turns.length === 0 ? chat : begin());
document.querySelector("main").onclick = (event) => showList(event.target === $("menu"));
document.onkeydown = (event) => {
  if (event.key === "Escape") {
    running?.abort();
    showList(false);
  }
  if (event.altKey && event.code === "KeyN") $("new").click();
};

show(chat);
watch();
