"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const text = document.getElementById("text"), list = document.getElementById("documents");
const place = document.getElementById("place"), filters = document.getElementById("filters");
const types = [...new Set(data.documents.flatMap((d) => d.spans.map((s) => s.type)))].sort();
const shown = { kind: new Set(data.kinds.filter((k) => k !== "right")), type: new Set(types) };
let current = 0, step = -1;

function element(tag, content, classes) {
  const made = document.createElement(tag);
  made.textContent = content;
  if (classes) made.className = classes;
  return made;
}

function isShown(span) {
  return shown.kind.has(span.kind) && (shown.type.has(span.type) || shown.type.has(span.partner));
}

/* A pair of gold and system spans is one step: the system's span stands for it unless it is missed. */
function steps(number) {
  const found = data.documents[number].spans
    .map((span, index) => ({ span, index, at: data.documents[number].segments.findIndex((s) => s[1].includes(index)) }))
    .filter((item) => isShown(item.span) && (item.span.side === "system" || item.span.kind === "missed"));
  return found.sort((a, b) => a.at - b.at || a.index - b.index);
}

function drawFilters() {
  for (const [name, values] of [["kind", data.kinds], ["type", types]]) {
    const group = element("span", "", "group");
    for (const value of values) {
      const label = element("label", " " + value), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = shown[name].has(value);
      box.dataset[name] = value;
      box.addEventListener("change", () => {
        if (box.checked) shown[name].add(value); else shown[name].delete(value);
        step = -1;
        drawList();
        draw();
      });
      label.prepend(box);
      group.append(label);
    }
    filters.append(group);
  }
}

function drawList() {
  list.replaceChildren(...data.documents.map((entry, number) => {
    const button = element("button", `${entry.id} (${steps(number).length})`);
    button.addEventListener("click", () => show(number));
    if (number === current) button.className = "current";
    return button;
  }));
}

function draw() {
  const entry = data.documents[current];
  if (!entry) return;
  const active = steps(current)[step];
  const seen = new Set();
  text.replaceChildren(...entry.segments.map(([piece, inside]) => {
    const spans = inside.map((index) => [index, entry.spans[index]]).filter(([, span]) => isShown(span));
    if (!spans.length) return document.createTextNode(piece);
    const names = new Set(spans.flatMap(([, span]) => [span.side, span.kind.replace("wrong ", "")]));
    const made = element("span", piece, [...names, piece ? "" : "empty"].join(" "));
    made.title = spans.map(([, span]) => `${span.side} ${span.type}: ${span.detail}`).join("\n");
    if (active && inside.includes(active.index)) made.classList.add("current-span");
    for (const [index, span] of spans) {
      if (!seen.has(index)) made.append(element("span", (span.side === "gold" ? "g:" : "s:") + span.type, "mark"));
      seen.add(index);
    }
    return made;
  }));
  place.textContent = active ? describe(entry, active.span) : entry.id;
  const marked = text.querySelector(".current-span");
  if (marked) marked.scrollIntoView({ block: "center" });
  for (const [number, button] of [...list.children].entries()) button.classList.toggle("current", number === current);
}

function describe(entry, span) {
  const pair = span.side === "gold" ? [span.type, span.partner] : [span.partner, span.type];
  const score = span.score === null ? "" : `, score ${span.score.toFixed(3)}`;
  return `${entry.id}: ${span.detail} (gold ${pair[0] ?? "none"}, system ${pair[1] ?? "none"}${score})`;
}

function show(number) {
  if (number < 0 || number >= data.documents.length) return;
  current = number;
  step = -1;
  draw();
}

function move(direction) {
  let number = current, wanted = step + direction;
  while (number >= 0 && number < data.documents.length) {
    const count = steps(number).length;
    if (wanted === -2) wanted = count - 1;
    if (wanted >= 0 && wanted < count) {
      current = number;
      step = wanted;
      return draw();
    }
    number += direction;
    wanted = direction > 0 ? 0 : -2;
  }
}

document.addEventListener("keydown", (event) => {
  const actions = { j: () => move(1), k: () => move(-1), n: () => show(current + 1), p: () => show(current - 1) };
  if (!event.ctrlKey && !event.metaKey && !event.altKey && actions[event.key]) actions[event.key]();
});
drawFilters();
drawList();
draw();
