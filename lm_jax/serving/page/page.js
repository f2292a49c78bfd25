// Continues a text, and shows how likely each token was. Texts of the model and of the
// server only ever become text (textContent), never markup.
"use strict";

const at = (id) => document.getElementById(id);
const SLIDERS = ["temperature", "top_p", "min_p", "max_tokens", "repetition_penalty",
  "frequency_penalty", "presence_penalty", "typical"];
const COUNTS = ["top_k", "no_repeat_ngram"];  // 0 asks for nothing
let running = null;

function headers() {
  const found = { "Content-Type": "application/json" };
  if (at("key").value) found.Authorization = `Bearer ${at("key").value}`;
  return found;
}

function asked() {
  const body = { prompt: at("prompt").value, stream: true, logprobs: 8 };
  for (const name of SLIDERS) body[name] = Number(at(name).value);
  for (const name of COUNTS) {
    if (Number(at(name).value) > 0) body[name] = Number(at(name).value);
  }
  if (at("seed").value !== "") body.seed = Number(at("seed").value);
  return body;
}

function made(name, text, className) {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// A line end or a space alone would not be seen.
const visible = (text) => text.replace(/\n/g, "⏎").replace(/^ | $/g, "␣");

function show(span, token) {
  for (const other of document.querySelectorAll(".chosen")) {
    other.classList.remove("chosen");
  }
  span.classList.add("chosen");
  const drawn = Math.exp(token.logprob);
  at("which").textContent =
    `“${visible(token.text)}”: ${(100 * drawn).toFixed(1)} %, and the likeliest:`;
  // Keys of an object that are whole numbers come first: 7 before a likelier word.
  const likeliest = Object.entries(token.likeliest).sort((a, b) => b[1] - a[1]);
  const rows = likeliest.map(([text, logprob]) => {
    const share = Math.exp(logprob);
    const row = made("tr", "", text === token.spelled ? "drawn" : "");
    const strip = made("span", "", "strip");
    const bar = document.createElement("i");
    bar.style.width = `${100 * share}%`;
    strip.append(bar);
    const cell = document.createElement("td");
    cell.append(strip);
    row.append(made("td", visible(text)));
    row.append(made("td", `${(100 * share).toFixed(1)} %`, "n"), cell);
    return row;
  });
  at("likely").replaceChildren(...rows);
}

// A piece of text and the tokens that it came from: one span a token, by their offsets.
// The first bytes of a character are tokens without a text.
function grow(choice, length) {
  const scores = choice.logprobs;
  if (!scores.tokens.length) at("text").append(choice.text);
  scores.tokens.forEach((text, k) => {
    const begin = Math.max(0, scores.text_offset[k] - length);
    const next = k + 1 < scores.tokens.length ? scores.text_offset[k + 1] - length
      : undefined;
    const part = [...choice.text].slice(begin, next).join("");
    const span = made("span", part, "t");
    const token = { text: part || text, spelled: text,
      logprob: scores.token_logprobs[k], likeliest: scores.top_logprobs[k] };
    span.style.setProperty("--a", Math.min(0.6, -token.logprob / 10));
    span.title = `${(100 * Math.exp(token.logprob)).toFixed(1)} %`;
    if (part) span.tabIndex = 0;
    for (const event of ["pointerenter", "focus", "click"]) {
      span.addEventListener(event, () => show(span, token));
    }
    at("text").append(span);
  });
}

async function* events(response) {
  const decoder = new TextDecoder();
  let left = "";
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (left + decoder.decode(value, { stream: true })).split("\n\n");
    left = parts.pop();
    for (const part of parts) yield part.slice("data: ".length);
  }
}

async function write() {
  running = new AbortController();
  at("text").replaceChildren();
  at("likely").replaceChildren();
  at("which").textContent = "";
  at("state").textContent = "…";
  at("go").disabled = !(at("stop").disabled = false);
  let length = 0;
  try {
    const response = await fetch("v1/completions", { method: "POST",
      headers: headers(), body: JSON.stringify(asked()), signal: running.signal });
    if (!response.ok) {
      if (response.status === 401) at("locked").hidden = false;
      throw new Error((await response.json()).error.message);
    }
    for await (const event of events(response)) {
      if (event === "[DONE]") continue;  // what is read to its end is not aborted
      const told = JSON.parse(event);
      if (told.error) throw new Error(told.error.message);
      grow(told.choices[0], length);
      length += [...told.choices[0].text].length;
      const reason = told.choices[0].finish_reason;
      if (reason) at("state").textContent = `ended: ${reason}`;
    }
  } catch (error) {
    const told = { AbortError: "stopped", TypeError: "The server does not answer." };
    at("state").textContent = told[error.name] ?? error.message;
  }
  running = null;
  at("go").disabled = !(at("stop").disabled = true);
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) write();
});
at("stop").addEventListener("click", () => running && running.abort());
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
for (const name of SLIDERS) {
  const output = document.querySelector(`output[for=${name}]`);
  const tell = () => { output.textContent = at(name).value; };
  at(name).addEventListener("input", tell);
  tell();
}
fetch("v1/models", { headers: headers() }).then(async (response) => {
  if (response.status === 401) at("locked").hidden = false;
  if (response.ok) at("model").textContent = (await response.json()).data[0].id;
}).catch(() => { at("state").textContent = "The server does not answer."; });
