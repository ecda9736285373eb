// The console's one script. The server says which topics changed; this fetches the page's own address again and puts
// in place what differs, region by region. Without it every page still works; it only does not move by itself.
const policy = window.trustedTypes
  ? trustedTypes.createPolicy("page", { createHTML: (text) => text }) // our own answers alone
  : { createHTML: (text) => text };
const root = document.documentElement;
const $ = (id) => document.getElementById(id);

// --- morphing: nodes that did not change stay the same objects ---
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) return old.replaceWith(document.importNode(fresh, true));
  if (old.nodeType !== 1) { old.nodeValue = fresh.nodeValue; return; }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.nodeName === "TEXTAREA" || old.nodeName === "INPUT") return; // what somebody is writing is theirs
  const known = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = next.id ? known.get(next.id) : at && !at.id && at.nodeName === next.nodeName ? at : null;
    if (!same) { old.insertBefore(document.importNode(next, true), at); continue; }
    if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
    morph(same, next);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

// --- live regions ---
const held = new Map(); // a list under pointer or focus is not moved: what it will become waits here
const busy = (region) => region.hasAttribute("data-hold") && (region.matches(":hover") || region.contains(document.activeElement));
function place(region, fresh) {
  region.removeAttribute("data-stale"); held.delete(region.id);
  if (region.isEqualNode(fresh)) return;
  if (!busy(region)) return morph(region, fresh);
  held.set(region.id, fresh); region.setAttribute("data-stale", "");
}
function release() {
  for (const [id, fresh] of held) { const region = $(id); if (!region) held.delete(id); else if (!busy(region)) place(region, fresh); }
}
document.addEventListener("pointerout", () => requestAnimationFrame(release));
document.addEventListener("focusout", () => requestAnimationFrame(release));

let due = new Set(), fetching = false;
async function refresh(topics) {
  for (const t of topics) due.add(t);
  if (fetching) return;
  fetching = true;
  try {
    while (due.size) {
      const now = due; due = new Set();
      const regions = [...document.querySelectorAll("[data-live]")].filter((r) => now.has("*") || r.dataset.live.split(" ").some((t) => now.has(t)));
      if (!regions.length) continue;
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) continue;
      const page = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
      for (const region of regions) { const fresh = page.getElementById(region.id); if (fresh) place(region, fresh); }
    }
  } catch { state("away"); } finally { fetching = false; }
}

// --- the stream; closed while nobody looks, for a browser has six connections a site ---
let source = null;
function state(word) {
  root.dataset.state = word;
  const button = $("pulse");
  if (button) { button.textContent = { live: "Live", paused: "Paused", away: "Away" }[word]; button.setAttribute("aria-pressed", String(word === "paused")); }
}
function follow() {
  if (sessionStorage.getItem("paused")) return state("paused");
  if (source || document.hidden) return;
  source = new EventSource("/live");
  source.onopen = () => { state("live"); refresh(["*"]); }; // whatever changed while nobody listened
  source.onerror = () => { state("away"); if (source?.readyState === 2) { leave(); setTimeout(follow, 2000); refresh(["*"]); } };
  source.addEventListener("change", (event) => refresh(JSON.parse(event.data)));
}
function leave() { source?.close(); source = null; }
document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
$("pulse")?.addEventListener("click", () => {
  if (sessionStorage.getItem("paused")) { sessionStorage.removeItem("paused"); follow(); }
  else { sessionStorage.setItem("paused", "1"); leave(); follow(); }
});

// --- claims and their bytes light each other ---
function light(key, from) {
  for (const one of document.querySelectorAll(".lit")) one.classList.remove("lit");
  if (key === undefined) return;
  for (const one of document.querySelectorAll(`[data-f="${key}"]`)) one.classList.add("lit");
  const other = from.closest(".hex") ? $(`c${key}`) : $(`b${key}`);
  const box = other?.closest(".split > *");
  if (!box) return;
  const a = other.getBoundingClientRect(), b = box.getBoundingClientRect();
  if (a.top < b.top + 32 || a.bottom > b.bottom) box.scrollTop += a.top - b.top - box.clientHeight / 3; // only this box, never the page
}
let where = "";
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, (event) => {
  const here = `${event.clientX} ${event.clientY}`;
  if (kind === "pointerover" && here === where) return; // it was the page that moved, not the pointer
  if (kind === "pointerover") where = here;
  const on = event.target.closest?.("[data-f]");
  if (on) light(on.dataset.f, on); else if (event.target.closest?.(".split")) light();
  const time = kind === "pointerover" && event.target.closest?.("time[datetime]");
  if (time && !time.title.includes("here")) time.title += ` (${new Date(time.dateTime).toLocaleString()} here)`;
});

// --- keys ---
const pages = { o: "/", a: "/alerts", f: "/fleet", e: "/evidence", p: "/policy", d: "/dead-letters" };
let going = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const key = event.key, went = going;
  going = key === "g";
  if (went && pages[key]) location.href = pages[key];
  else if (key === "/") { event.preventDefault(); $("q").focus(); }
  else if (key === "?") location.href = "/help";
  else if (key === "j" || key === "k") {
    const rows = [...document.querySelectorAll("[data-row]")];
    const at = rows.indexOf(document.activeElement.closest("[data-row]"));
    const row = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + (key === "j" ? 1 : -1)))];
    row?.querySelector("a")?.focus(); // Enter then follows it, as everywhere
  }
});
follow();
