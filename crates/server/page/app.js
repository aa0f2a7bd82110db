"use strict";
// Everything that comes from a model is put in as text, never as HTML.

const find = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)} %`;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function replace(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// ---- Asking -------------------------------------------------------------------------------------

let asking = null;

async function ask(event) {
  event.preventDefault();
  if (asking) return;
  asking = new AbortController();
  find("go").disabled = true;
  find("cancel").hidden = false;
  find("answer").hidden = true;
  replace(find("list"));
  find("candidatesTitle").hidden = true;
  find("state").textContent = "Asking …";
  try {
    await stream(asking.signal);
  } catch (error) {
    find("state").textContent = error.name === "AbortError" ? "Stopped." : String(error.message || error);
  } finally {
    asking = null;
    find("go").disabled = false;
    find("cancel").hidden = true;
  }
}

async function stream(signal) {
  const headers = { "Content-Type": "application/json" };
  if (find("key").value) headers.Authorization = `Bearer ${find("key").value}`;
  const tests = find("tests").value.split("\n").map((line) => line.trim()).filter((line) => line);
  const body = {
    model: "", stream: true,
    messages: [{ role: "user", content: find("text").value }],
    ncomp: { candidates: Number(find("candidates").value), tests, details: true },
  };
  const response = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  if (response.status === 401) find("keyField").hidden = false;
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const text of events) take(text);
  }
}

function take(text) {
  if (!text.startsWith("data: ") || text === "data: [DONE]") return;
  const chunk = JSON.parse(text.slice(6));
  if (chunk.error) throw new Error(chunk.error.message);
  if (!chunk.ncomp) return;
  if (chunk.ncomp.progress) {
    const progress = chunk.ncomp.progress;
    find("state").textContent = `${progress.candidates_so_far} candidates checked …`;
    showCandidates(progress.candidates);
    return;
  }
  showAnswer(chunk.ncomp);
  showCandidates(chunk.ncomp.candidates);
}

function showAnswer(found) {
  find("state").textContent = "";
  const titles = { verified: "Verified", unverified: "Not verified: no tests were given", none_found: "None found" };
  const tone = { verified: "good", unverified: "doubt", none_found: "bad" }[found.status];
  const other = found.evidence.runner_up;
  replace(find("answer"), element("div", { class: `card answer ${found.status}` },
    element("div", { class: "head" },
      element("strong", { class: tone }, titles[found.status]),
      found.code && element("button", { class: "copy", type: "button", onclick: () => navigator.clipboard.writeText(found.code) }, "Copy")),
    found.code && element("pre", {}, found.code),
    element("div", { class: "dim" }, ...found.explanation.trim().split("\n").map((line) => element("div", {}, line))),
    other && element("details", {}, element("summary", {}, "The program that behaves otherwise"), element("pre", {}, other.code))));
  find("answer").hidden = false;
}

function showCandidates(candidates) {
  find("candidatesTitle").hidden = candidates.length === 0;
  const groups = new Map();
  for (const candidate of candidates) {
    if (!groups.has(candidate.behaviour)) groups.set(candidate.behaviour, []);
    groups.get(candidate.behaviour).push(candidate);
  }
  const open = new Set([...find("list").querySelectorAll("details[open]")].map((details) => details.dataset.group));
  replace(find("list"), ...[...groups].map(([number, group]) => behaviour(number, group, open)));
}

function behaviour(number, group, open) {
  const best = group[0];
  const verdict = best.tests_passed === undefined ? null
    : best.failed ? element("span", { class: "bad" }, `fails ${best.failed.test}: ${best.failed.how}`)
    : element("span", { class: "good" }, "passes all tests");
  const details = element("details", { "data-group": String(number) },
    element("summary", {},
      element("strong", {}, percent(best.probability)),
      element("span", {}, `${group.length} ${group.length === 1 ? "candidate" : "candidates"}`),
      verdict,
      element("span", { class: "dim" }, `gives ${best.gives}`)),
    ...programs(group));
  details.open = open.has(String(number));
  return details;
}

function programs(group) {
  const counts = new Map();
  for (const candidate of group) counts.set(candidate.code, (counts.get(candidate.code) || 0) + 1);
  return [...counts].map(([code, count]) => element("div", {},
    count > 1 ? element("span", { class: "dim" }, `${count} times`) : null, element("pre", {}, code)));
}

// ---- Looking at a run ---------------------------------------------------------------------------

const PAGE = 25;
let run = null;
let shown = PAGE;

// Rows that stand under one heading, in their order: [heading, rows].
function underHeadings(rows) {
  const groups = [];
  for (const row of rows) {
    const group = row.group ?? "";
    if (groups.length === 0 || groups.at(-1)[0] !== group) groups.push([group, []]);
    groups.at(-1)[1].push(row);
  }
  return groups;
}

function showRun(found) {
  run = found;
  find("run").hidden = false;
  find("subtitle").textContent = found.summary;
  document.title = found.title;
  const percentOrBlank = (value) => (value === undefined || value === null ? "" : `${value.toFixed(0)} %`);
  replace(find("rows"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["", "solved", "95 % interval", "of the gap"].map((title) => element("th", {}, title)))),
    ...underHeadings(found.rows).map(([group, rows]) => element("tbody", {},
      ...(group ? [element("tr", {}, element("th", { colspan: 4, scope: "rowgroup" }, group))] : []),
      ...rows.map((row) => element("tr", {},
        element("td", {}, row.label), element("td", {}, `${row.value.toFixed(1)} %`),
        element("td", {}, `${row.low.toFixed(1)} – ${row.high.toFixed(1)}`),
        element("td", {}, percentOrBlank(row.gap_recovered)))))))));
  find("report").src = "/report.html";
  showProblems();
}

const FILTERS = {
  all: () => true,
  "critic-wrong": (problem) => !passesAtTop(problem) && problem.candidates.some((candidate) => candidate.passed),
  none: (problem) => !problem.candidates.some((candidate) => candidate.passed),
  some: (problem) => problem.candidates.some((c) => c.passed) && problem.candidates.some((c) => !c.passed),
};

function passesAtTop(problem) {
  return problem.candidates.length > 0 && problem.candidates[0].passed;
}

function showProblems() {
  const wanted = find("search").value.toLowerCase();
  const matching = run.problems.filter(FILTERS[find("filter").value])
    .filter((problem) => `${problem.id} ${problem.text}`.toLowerCase().includes(wanted));
  find("shown").textContent = `${matching.length} of ${run.problems.length}`;
  replace(find("problems"), ...matching.slice(0, shown).map(problemCard));
  find("more").hidden = matching.length <= shown;
}

function problemCard(problem) {
  const passing = problem.candidates.filter((candidate) => candidate.passed).length;
  const card = element("details", {}, element("summary", {},
    element("strong", {}, problem.id),
    element("span", { class: passing === 0 ? "bad" : "good" }, `${passing} of ${problem.candidates.length} pass`),
    element("span", { class: passesAtTop(problem) ? "good" : "bad" }, passesAtTop(problem) ? "critic's pick passes" : "critic's pick fails"),
    element("span", { class: "dim" }, problem.text)));
  // The candidates are put in when somebody looks.
  card.addEventListener("toggle", () => {
    if (!card.open || card.dataset.filled) return;
    card.dataset.filled = "yes";
    card.append(element("pre", {}, problem.tests.join("\n")), ...problem.candidates.map(candidateCard));
  });
  return card;
}

function candidateCard(candidate) {
  const score = candidate.score === null ? "" : `critic ${percent(candidate.score)}`;
  return element("div", { class: "card" },
    element("div", { class: "head" },
      element("span", { class: candidate.passed ? "good" : "bad" }, candidate.outcome.replaceAll("_", " ")),
      element("span", { class: "dim" }, score)),
    candidate.failed_test ? element("div", { class: "dim" }, `fails ${candidate.failed_test}: ${candidate.came_instead}`) : null,
    element("pre", {}, candidate.code));
}

// ---- Beginning ----------------------------------------------------------------------------------

find("question").addEventListener("submit", ask);
find("cancel").addEventListener("click", () => asking && asking.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !find("ask").hidden) find("question").requestSubmit();
  if (event.key === "Escape" && asking) asking.abort();
});
for (const id of ["filter", "search"]) find(id).addEventListener("input", () => { shown = PAGE; showProblems(); });
find("more").addEventListener("click", () => { shown += PAGE; showProblems(); });

fetch("/run.json").then((response) => (response.ok ? response.json() : null)).then((found) => {
  if (found) showRun(found);
  else { find("ask").hidden = false; find("text").focus(); }
});
