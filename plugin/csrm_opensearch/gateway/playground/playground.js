// The playground: asks the same search twice, once left alone and once explained, and shows the pages side by side.
import { moved, products, recut } from "./list.js";

const PAGE = 10;
const $ = (id) => document.getElementById(id);

const REASONS = {
  "ambiguous-query": "the query has several different texts",
  "blank-query": "the query is blank",
  "body-not-json": "the search is no JSON",
  "breaker-open": "the relevance service failed too often just now; the gateway waits before it asks again",
  busy: "too many searches wait for judgments",
  deadline: "the relevance service did not answer within the time budget",
  "internal-error": "the gateway itself failed; see its log",
  "no-hits": "OpenSearch found nothing",
  "no-product-text": "the products have no text in the profile's fields",
  "no-profile": "no profile covers this index",
  "query-too-long": "the query is too long",
  "relevance-down": "the relevance service does not answer",
  "relevance-garbage": "the relevance service's answer could not be used",
  "relevance-key": "the relevance service does not take the gateway's key; see /_csrm/readyz",
  "relevance-model": "the relevance service does not have the model of the profile; see /_csrm/readyz",
  "relevance-refused": "the relevance service finds fault with the request",
  "shards-failed": "shards of the index failed",
  "window-rejected": "the index does not give so many hits at once",
};

let profiles = [];
let profileOf = new Map(); // concrete index -> profile
let shown = null; // { own, all, threshold, minKeep, locale }

const ready = prepare();

async function prepare() {
  $("ask").addEventListener("submit", async (event) => { event.preventDefault(); await ready; await search(); });
  $("threshold").addEventListener("input", () => show(Number($("threshold").value)));
  $("reset").addEventListener("click", () => show(shown.threshold));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input:not([type=range]), select, textarea")) {
      event.preventDefault();
      $("query").select();
    }
  });
  const known = await (await fetch("profiles")).json();
  profiles = known.profiles;
  if (known.dashboard_url) Object.assign($("dashboard"), { href: known.dashboard_url, hidden: false });
  await offerIndices();
  const wanted = new URLSearchParams(location.search);
  for (const name of ["index", "locale"]) if (wanted.get(name)) $(name).value = wanted.get(name);
  if (wanted.get("q")) {
    $("query").value = wanted.get("q");
    await search();
  }
}

/** A list of the indices that the profiles name, or a free field where OpenSearch does not tell. */
async function offerIndices() {
  for (const profile of profiles) {
    const patterns = profile.indices.map(encodeURIComponent).join(",");
    try {
      const response = await fetch(`/_cat/indices/${patterns}?format=json&h=index&s=index`);
      for (const row of response.ok ? await response.json() : []) if (!profileOf.has(row.index)) profileOf.set(row.index, profile);
    } catch { /* the free field stays */ }
  }
  if (profileOf.size) {
    $("index").replaceChildren(...[...profileOf.keys()].map((index) => new Option(index)));
    $("index").disabled = false;
  } else {
    $("index").replaceWith(make("input", { id: "index", name: "index", required: true, spellcheck: false,
      value: profiles[0]?.indices[0] ?? "" }));
  }
}

async function search() {
  const query = $("query").value.trim();
  const index = $("index").value.trim();
  const locale = $("locale").value;
  if (!query || !index) return;
  history.replaceState(null, "", "?" + new URLSearchParams({ q: query, index, ...(locale && { locale }) }));
  say("Searching …");
  const profile = profileOf.get(index) ?? profiles[0] ?? { search_fields: ["*"], window: 100, min_keep: 1 };
  const body = { query: { multi_match: { query, fields: profile.search_fields } } };
  try {
    // one after the other, so that neither slows the other down
    const own = await ask(index, { ...body, size: PAGE, ext: { csrm: { mode: "off" } } });
    const csrm = { mode: "on", explain: true, query, ...(locale && { locale }) };
    const filtered = await ask(index, { ...body, size: Math.max(PAGE, profile.window), ext: { csrm } });
    present(own, filtered, profile);
  } catch (problem) {
    $("result").hidden = true;
    say(problem.message, true);
  }
}

async function ask(index, body) {
  const began = performance.now();
  let response, answer;
  try {
    response = await fetch(`/${encodeURIComponent(index)}/_search`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    answer = await response.json();
  } catch {
    throw new Error("The gateway does not answer.");
  }
  if (!response.ok) throw new Error(answer.error?.reason ?? `The search failed (${response.status}).`);
  return { ...answer, waited: performance.now() - began, status: response.headers.get("csrm-status") ?? "" };
}

function present(own, filtered, profile) {
  const csrm = filtered.csrm?.removed ? filtered.csrm : null; // what was judged
  const reason = /reason=([\w-]+)/.exec(filtered.status)?.[1];
  const total = own.hits.total?.value ?? own.hits.hits.length;
  $("result").hidden = !own.hits.hits.length;
  if (!csrm) {
    say(`Not filtered: ${REASONS[reason] ?? reason ?? "no profile covers this index"}.`, reason !== "no-hits");
  } else {
    say(`${total.toLocaleString()} found by OpenSearch; ${csrm.window} judged by ${csrm.model}.`);
  }
  shown = {
    own: own.hits.hits, all: csrm ? products(filtered) : [], minKeep: profile.min_keep ?? 1,
    threshold: csrm?.threshold ?? null, lang: csrm?.locale ?? "", fields: profile.search_fields,
  };
  for (const id of ["cut", "removed-part", "knowledge-part", "timings-part"]) $(id).hidden = !csrm;
  document.querySelector(".legend").hidden = !csrm;
  $("own-note").textContent = `${ms(own.waited)} in all, ${ms(own.took)} in OpenSearch`;
  $("filtered-note").textContent = csrm ? `${ms(filtered.waited)} in all` : "OpenSearch's own page";
  if (csrm) {
    const entries = csrm.knowledge.map((entry) =>
      make("li", {}, `${entry.text} (${entry.kind}, ${entry.similarity.toFixed(2)})`));
    $("knowledge").replaceChildren(...(entries.length ? entries : [make("li", {}, "None for this query.")]));
    const timings = { "OpenSearch (window)": filtered.took, ...csrm.timings_ms, "the whole search": filtered.waited };
    $("timings").replaceChildren(...Object.entries(timings).flatMap(([stage, time]) =>
      [make("dt", {}, stage.replaceAll("_", " ")), make("dd", {}, ms(time))]));
  }
  show(shown.threshold);
}

/** Cut the list at a threshold and show it. */
function show(threshold) {
  const { own, all, minKeep, lang } = shown;
  const { kept, removed } = recut(all, threshold ?? 1, minKeep);
  const place = new Map(kept.map((one, at) => [one.key, at]));
  const judged = new Map(all.map((one) => [one.key, one]));
  $("own").replaceChildren(...own.map((hit, at) => {
    const one = judged.get(`${hit._index}/${hit._id}`);
    const text = one?.text || textOf(hit);
    if (!one) return row(at, text, "", "", lang);
    const to = place.get(one.key);
    const gone = to === undefined;
    return row(at, text, gone ? "removed" : to === at ? "stays" : `→ ${to + 1}`, gone ? "gone" : "", lang, one);
  }));
  const page = all.length ? kept.slice(0, PAGE) : own.map((hit) => ({ text: textOf(hit) }));
  $("filtered").replaceChildren(...page.map((one, at) => {
    const by = all.length ? moved(one, at) : 0;
    const move = by > 0 ? `▲ ${by}` : by < 0 ? `▼ ${-by}` : "";
    return row(at, one.text || one.id, move, by > 0 ? "up" : "", lang, one);
  }));
  $("removed-title").textContent = `Removed (${removed.length})`;
  $("removed").replaceChildren(...removed.map((one) =>
    row(one.rank, one.text, `irrelevance ${one.irrelevance.toFixed(3)} > ${threshold.toFixed(3)}`, "gone", lang, one)));
  if (threshold === null) return;
  $("threshold").value = threshold;
  $("threshold-value").textContent = threshold.toFixed(3);
  $("reset").disabled = Math.abs(threshold - shown.threshold) < 1e-9;
  $("cut-said").textContent = `Products whose irrelevance is above ${threshold.toFixed(3)} go: `
    + `${removed.length} of ${all.length}, ${own.filter((hit) => removed.some((one) => one.key === `${hit._index}/${hit._id}`)).length} of them from OpenSearch's first ${own.length}.`;
}

function row(at, text, move, kind, lang, one) {
  const item = make("li", { className: kind === "gone" ? "gone" : "" },
    make("span", { className: "place" }, String(at + 1)),
    make("span", { className: "text", lang }, text),
    make("span", { className: `move ${kind}` }, move));
  if (one?.judged) {
    const percent = (grade) => `${Math.round(100 * one.grades[grade])} %`;
    const said = `exact ${percent("E")}, substitute ${percent("S")}, complement ${percent("C")}, irrelevant ${percent("I")}`;
    const bar = make("span", { className: "bar", role: "img", ariaLabel: said, title: said },
      ...["E", "S", "C", "I"].map((grade) => {
        const part = make("i", { className: grade });
        part.style.width = `${100 * one.grades[grade]}%`;
        return part;
      }));
    item.append(make("span", { className: "figures" }, bar, `irrelevance ${one.irrelevance.toFixed(3)}`, ` · score ${one.score.toFixed(3)}`));
  }
  return item;
}

function textOf(hit) {
  const source = hit._source ?? {};
  const words = shown.fields.map((name) => source[name.split("^")[0]]).filter((value) => typeof value === "string");
  return words.join(" · ") || hit._id;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function ms(time) {
  return `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
}

function say(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}
