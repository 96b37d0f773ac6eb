// Plays a run. The data is one JSON value (play.rs says what each row is); nothing is fetched, and
// nothing in it is ever taken for markup.
"use strict";
(() => {
const root = document.documentElement;
addEventListener("error", (e) => { root.dataset.state = "failed"; root.dataset.why = e.message; });
const $ = (id) => document.getElementById(id);
const P = JSON.parse($("data").textContent);
const END = Math.max(1, P.run.end_ns);

const el = (tag, props, ...inside) => {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...inside);
  return made;
};
const bytes = (n) => n < 1024 ? n + " B" : n < 1 << 20 ? (n / 1024).toFixed(n < 10240 ? 1 : 0) + " KiB" : (n / 1048576).toFixed(1) + " MiB";
const secs = (ns, digits = 6) => (ns / 1e9).toFixed(digits);
const lasts = (ns) => ns < 1e3 ? ns + " ns" : ns < 1e6 ? (ns / 1e3).toFixed(1) + " µs" : ns < 1e9 ? (ns / 1e6).toFixed(ns < 1e7 ? 2 : 1) + " ms" : (ns / 1e9).toFixed(2) + " s";
const name = (node) => P.lanes[node] ? P.lanes[node].name : "n" + node;
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
// The first place in a list sorted by `key` that is not before `at`.
const first = (list, at, key) => {
  let low = 0, high = list.length;
  while (low < high) { const mid = (low + high) >> 1; if (key(list[mid]) < at) low = mid + 1; else high = mid; }
  return low;
};
const row0 = (row) => row[0];

// ── what there is ──────────────────────────────────────────────────────────────────────────────

const laneOfClient = new Map(P.lanes.map((lane, at) => [lane.client, at]).filter(([client]) => client !== null));
// What becomes of a connection, before the name of who is at its other end.
const LINKED = { asks: "connects to", accepts: "is connected by", "is reset": "is cut from" };
const FATE = ["under way", "arrived", "lost"];
// Of the end of a connection nobody misses anything.
const isLost = (message) => message[5] !== 1 && message[4] > 0;
const KINDS = [
  { id: "faults", rows: P.faults, at: (r) => r.at, who: (r) => r.nodes.length === 1 ? r.nodes[0] : -1, text: (r) => r.text, on: true },
  { id: "lives", rows: P.lives, at: row0, who: (r) => r[1], text: (r) => `${r[3]} (life ${r[2]})`, on: true },
  { id: "operations", rows: P.operations, at: (r) => r.at, who: (r) => laneOfClient.get(r.client) ?? -1,
    text: (r) => `c${r.client} k${r.key} ${r.call} = ${r.answer}`, on: true },
  { id: "roles", rows: P.beliefs, at: row0, who: (r) => r[1], text: (r) => `group ${r[2]}: ${r[3]} in term ${r[4]}, committed ${r[5]}`, on: true },
  { id: "packets", rows: P.packets, at: row0, who: (r) => r[1], text: (r) => `to ${name(r[2])}: ${r[3]}`, on: true },
  { id: "messages", rows: P.messages, at: row0, who: (r) => r[1],
    text: (r) => `→ ${name(r[2])} #${r[3]} ${r[4] ? r[4] + " B" : "end"}, ${FATE[r[5]]}${r[5] === 1 ? " after " + lasts(r[6] - r[0]) : ""}`, on: false },
  { id: "connections", rows: P.links, at: row0, who: (r) => r[1], text: (r) => `${LINKED[r[4]] ?? r[4]} ${name(r[2])} (#${r[3]})`, on: true },
  { id: "disk", rows: P.disk, at: row0, who: (r) => r[1], text: (r) => (r[3] ? "disk fails: " : "disk ") + r[2], on: true },
  { id: "words", rows: P.words, at: row0, who: (r) => r[1] ?? -1, text: (r) => r[2], on: true },
];
const [FAULTS, LIVES, OPS, , PACKETS, MESSAGES] = KINDS.keys();
// Every moment, in order of time: which kind, which row.
const total = KINDS.reduce((sum, kind) => sum + kind.rows.length, 0);
const times = new Float64Array(total), kindOf = new Uint8Array(total), rowOf = new Uint32Array(total);
{
  const order = new Uint32Array(total), t = new Float64Array(total), k = new Uint8Array(total), r = new Uint32Array(total);
  let n = 0;
  KINDS.forEach((kind, which) => kind.rows.forEach((row, at) => { t[n] = kind.at(row); k[n] = which; r[n] = at; order[n] = n; n++; }));
  order.sort((a, b) => t[a] - t[b] || a - b);
  order.forEach((from, to) => { times[to] = t[from]; kindOf[to] = k[from]; rowOf[to] = r[from]; });
}
const momentAt = (at) => { let low = 0, high = total; while (low < high) { const mid = (low + high) >> 1; if (times[mid] < at) low = mid + 1; else high = mid; } return low; };
const rowAt = (moment) => KINDS[kindOf[moment]].rows[rowOf[moment]];
const whoAt = (moment) => { const who = KINDS[kindOf[moment]].who(rowAt(moment)); return who < 0 ? "world" : name(who); };
const textAt = (moment) => KINDS[kindOf[moment]].text(rowAt(moment));

// Lives as blocks, holds inside them.
const blocks = P.lanes.map(() => []), holds = P.lanes.map(() => []);
for (const [at, node, life, what] of P.lives) {
  const mine = blocks[node], last = mine[mine.length - 1];
  if (what === "boots") mine.push({ from: at, to: END, life, how: "lives on", open: true, asked: 0 });
  else if (what === "is asked to stop") { if (last) last.asked = at; }
  else if (what === "is held") holds[node].push({ from: at, to: END, open: true });
  else if (what === "goes on") holds[node].forEach((hold) => { if (hold.open) { hold.open = false; hold.to = at; } });
  else {
    if (last && last.open) { last.to = at; last.how = what; last.open = false; }
    holds[node].forEach((hold) => { if (hold.open) { hold.open = false; hold.to = at; } });
  }
}
// What each replica believed, as stretches of one role in one term.
const strips = P.lanes.map(() => new Map());
for (const [at, node, group, role, term, commit] of P.beliefs) {
  if (!strips[node]) continue;
  if (!strips[node].has(group)) strips[node].set(group, { spans: [], rows: [] });
  const strip = strips[node].get(group), last = strip.spans[strip.spans.length - 1];
  strip.rows.push([at, role, term, commit]);
  if (!last || last.role !== role || last.term !== term || at >= last.to) {
    if (last) last.to = Math.min(last.to, at);
    const life = blocks[node].find((block) => block.from <= at && at < block.to);
    strip.spans.push({ from: at, to: life ? life.to : END, role, term });
  }
}
const stakes = P.lanes.map(() => []);
P.stakes.forEach((row) => stakes[row[1]] && stakes[row[1]].push(row));
const pendingMost = Math.max(1, ...stakes.map((rows) => rows.reduce((most, row) => Math.max(most, row[2]), 0)));
const durableMost = Math.max(1, ...stakes.map((rows) => rows.reduce((most, row) => Math.max(most, row[3]), 0)));
const opsOf = P.lanes.map(() => []);
P.operations.forEach((op, at) => { const lane = laneOfClient.get(op.client); if (lane !== undefined) opsOf[lane].push(at); });
const messagesLast = P.messages.reduce((most, row) => row[5] === 1 ? Math.max(most, row[6] - row[0]) : most, 0);

// ── what is seen ───────────────────────────────────────────────────────────────────────────────

const map = $("map"), stage = $("stage"), tip = $("tip");
const view = { from: 0, to: END, now: 0, playing: false, picked: null, hits: [], hit: -1, others: false, arrows: true, disks: true };
const SPEEDS = [[1, "1×"], [0.1, "0.1×"], [0.01, "0.01×"], [0.001, "0.001×"], [1e-4, "0.0001×"]];
const GROUPS_MOST = 8;
let colour = {};
const readColours = () => {
  const style = getComputedStyle(root);
  for (const key of ["card", "ink", "soft", "line", "grid", "accent", "good", "bad", "doubt", "node", "node-ink", "held", "fault", "fault-soft", "disk", "kept", "arrow", "lost", "pick", "idle"]) colour[key] = style.getPropertyValue("--" + key).trim();
  colour.dark = root.dataset.theme === "dark";
};
const LINE = "11px ui-sans-serif, system-ui, sans-serif";
let GUTTER = 150, wide = 800, lanes = [], high = 400, axis = 22, faultRows = 0;
const faultRow = [], FAULT_ROWS_MOST = 8;
{
  const ends = [];
  P.faults.forEach((fault, at) => {
    let row = ends.findIndex((end) => end <= fault.at);
    if (row < 0) row = Math.min(ends.length, FAULT_ROWS_MOST - 1);
    // Where all is seen there is room for so many letters.
    ends[row] = Math.max(ends[row] || 0, fault.until, fault.at + (fault.text.length + 3) * END / 180);
    faultRow[at] = row;
    faultRows = Math.max(faultRows, row + 1);
  });
}
const layout = () => {
  wide = Math.max(320, stage.clientWidth);
  GUTTER = wide < 700 ? 104 : 150;
  let y = axis + 6 + faultRows * 15 + (faultRows ? 6 : 0);
  lanes = [];
  const put = (kind) => P.lanes.forEach((lane, node) => {
    if (lane.kind !== kind) return;
    const groups = [...strips[node].keys()].sort((a, b) => a - b).slice(0, GROUPS_MOST);
    const disk = view.disks && stakes[node].length > 0 && kind === "node";
    const tall = kind === "client" ? 20 : kind === "other" ? 15 : 20 + groups.length * 11 + (disk ? 30 : 0) + 8;
    lanes.push({ node, kind, y, tall, groups, disk });
    y += tall;
  });
  put("client"); if (lanes.length) y += 8;
  put("node"); y += 8;
  if (view.others) put("other");
  high = Math.max(140, y + 4);
  for (const [canvas, tall] of [[stage, high], [map, 34]]) {
    const ratio = devicePixelRatio || 1;
    canvas.style.height = tall + 2 + "px"; // with its border
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(tall * ratio);
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
};
const laneOf = (node) => lanes.find((lane) => lane.node === node);
const x = (t) => GUTTER + (t - view.from) / (view.to - view.from) * (wide - GUTTER);
const back = (px) => view.from + (px - GUTTER) / (wide - GUTTER) * (view.to - view.from);
const mid = (lane) => lane.y + (lane.kind === "node" ? 9 : lane.tall / 2 - 1);
const hue = (term) => (term * 137.5 + 190) % 360;
const roleColour = (role, term) => {
  const h = hue(term), dark = colour.dark;
  if (role === "leader") return dark ? `hsl(${h} 55% 58%)` : `hsl(${h} 55% 45%)`;
  if (role === "follower") return dark ? `hsl(${h} 28% 27%)` : `hsl(${h} 45% 87%)`;
  if (role === "lost") return colour.idle;
  return colour.held;
};
const outcomeColour = (op) => op.outcome === "ok" ? colour.good : op.outcome === "failed" ? colour.bad : colour.doubt;
const opEnd = (op) => op.until ?? END;

const box = (c, from, to, y, tall, fill, least = 1) => {
  const a = Math.max(GUTTER, x(from)), b = Math.min(wide, x(to));
  if (b < GUTTER || a > wide) return null;
  c.fillStyle = fill;
  c.fillRect(a, y, Math.max(least, b - a), tall);
  return [a, Math.max(a + least, b)];
};
const label = (c, text, a, b, y, fill) => {
  a = Math.max(a, GUTTER);
  if (b - a < 26) return;
  c.save(); c.beginPath(); c.rect(a, y - 10, b - a - 3, 14); c.clip();
  c.fillStyle = fill; c.fillText(text, a + 4, y); c.restore();
};
const hatch = (c, a, b, y, tall, stroke) => {
  c.save(); c.beginPath(); c.rect(a, y, b - a, tall); c.clip(); c.strokeStyle = stroke; c.lineWidth = 1; c.beginPath();
  for (let i = a - tall; i < b; i += 5) { c.moveTo(i, y + tall); c.lineTo(i + tall, y); }
  c.stroke(); c.restore();
};

const drawAxis = (c) => {
  const span = view.to - view.from, rough = span / Math.max(3, (wide - GUTTER) / 110);
  const power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const digits = clamp(Math.ceil(9 - Math.log10(step)), 0, 9);
  c.font = LINE; c.textAlign = "center";
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
    c.fillStyle = colour.grid; c.fillRect(Math.round(x(t)), axis, 1, high - axis);
    c.fillStyle = colour.soft; c.fillText(secs(t, digits) + " s", x(t), 14);
  }
  c.textAlign = "left";
  let from = 0;
  for (const [phase, to] of P.run.phases) {
    if (to > from && to < END) { c.fillStyle = colour.soft; c.globalAlpha = .5; if (x(to) > GUTTER) c.fillRect(Math.round(x(to)), axis - 4, 1, high); c.globalAlpha = 1; }
    from = to;
  }
};
const drawFaults = (c) => {
  P.faults.forEach((fault, at) => {
    const y = axis + 4 + faultRow[at] * 15, seen = box(c, fault.at, fault.until, y, 12, colour["fault-soft"], 2);
    if (!seen) return;
    c.fillStyle = colour.fault; if (x(fault.at) >= GUTTER) c.fillRect(x(fault.at), y, 2, 12);
    const next = P.faults.find((other, later) => later > at && faultRow[later] === faultRow[at]);
    label(c, fault.text, seen[0], next ? Math.min(x(next.at), wide) : wide, y + 10, colour.ink);
    for (const node of fault.nodes) { const lane = laneOf(node); if (lane) box(c, fault.at, fault.until, lane.y - 2, lane.tall - 2, colour["fault-soft"]); }
    if (view.picked && view.picked.kind === FAULTS && view.picked.row === at) { c.strokeStyle = colour.pick; c.lineWidth = 2; c.strokeRect(seen[0] - 1, y - 1, seen[1] - seen[0] + 2, 14); }
  });
};
const drawClient = (c, lane) => {
  const list = opsOf[lane.node];
  for (const at of list) {
    const op = P.operations[at];
    if (opEnd(op) < view.from || op.at > view.to) continue;
    const seen = box(c, op.at, opEnd(op), lane.y + 2, 14, outcomeColour(op), 1.5);
    if (!seen) continue;
    if (op.outcome === "unknown") hatch(c, seen[0], seen[1], lane.y + 2, 14, colour.card);
    if (seen[1] - seen[0] > 30) label(c, `k${op.key} ${op.call} = ${op.answer}`, seen[0], seen[1], lane.y + 13, colour.dark ? "#14171c" : "#fff");
    else if (seen[1] - seen[0] > 3) { c.fillStyle = colour.card; c.fillRect(seen[0], lane.y + 2, 1, 14); }
  }
};
const drawLife = (c, lane) => {
  const tall = lane.kind === "node" ? 16 : 11;
  for (const block of blocks[lane.node]) {
    const seen = box(c, block.from, block.to, lane.y, tall, colour.node, 1);
    if (!seen) continue;
    if (lane.kind === "node") label(c, `life ${block.life}`, seen[0], seen[1], lane.y + 12, colour["node-ink"]);
    if (block.how !== "lives on" && x(block.to) >= GUTTER) {
      c.fillStyle = block.how === "exits" ? colour.soft : colour.fault; c.fillRect(x(block.to) - 1.5, lane.y - 2, 3, tall + 4);
      if (lane.kind === "node") label(c, "✕ " + block.how, x(block.to), Math.min(wide, x((blocks[lane.node].find((next) => next.from > block.to) || { from: END }).from)), lane.y + 12, colour.fault);
    }
  }
  for (const hold of holds[lane.node]) {
    const seen = box(c, hold.from, hold.to, lane.y, tall, colour.held, 1);
    if (seen) { hatch(c, seen[0], seen[1], lane.y, tall, colour.doubt); label(c, "held", seen[0], seen[1], lane.y + 12, colour.ink); }
  }
};
const drawRoles = (c, lane) => lane.groups.forEach((group, nth) => {
  const strip = strips[lane.node].get(group), y = lane.y + 19 + nth * 11;
  for (const span of strip.spans) {
    if (span.to < view.from || span.from > view.to) continue;
    const seen = box(c, span.from, span.to, y, 9, roleColour(span.role, span.term), 1);
    if (!seen) continue;
    if (span.role === "candidate" || span.role === "pre-candidate") hatch(c, seen[0], seen[1], y, 9, colour.doubt);
    c.font = "9px ui-sans-serif, system-ui, sans-serif";
    if (seen[1] - seen[0] > 40) label(c, `${span.role} · term ${span.term}`, seen[0], seen[1], y + 8, span.role === "leader" ? (colour.dark ? "#101318" : "#fff") : colour.ink);
    c.font = LINE;
  }
  const rows = strip.rows, from = first(rows, view.from, row0), to = first(rows, view.to, row0);
  if (to - from < (wide - GUTTER) / 10) { c.fillStyle = colour.ink; for (let i = from; i < to; i++) if (i && rows[i][3] !== rows[i - 1][3]) c.fillRect(x(rows[i][0]), y + 6, 1, 3); }
});
const drawDisk = (c, lane) => {
  const rows = stakes[lane.node], bottom = lane.y + lane.tall - 9, tall = 26;
  const from = Math.max(0, first(rows, view.from, row0) - 1), to = Math.min(rows.length, first(rows, view.to, row0) + 1);
  c.fillStyle = colour.line; c.fillRect(GUTTER, bottom, wide - GUTTER, 1);
  const peak = new Map();
  c.beginPath(); c.strokeStyle = colour.kept; c.lineWidth = 1;
  let held = false;
  for (let i = from; i < to; i++) {
    const a = clamp(x(rows[i][0]), GUTTER, wide), b = clamp(i + 1 < rows.length ? x(rows[i + 1][0]) : wide, GUTTER, wide);
    const y = bottom - rows[i][3] / durableMost * tall;
    if (held) c.lineTo(a, y); else c.moveTo(a, y);
    c.lineTo(b, y); held = true;
    if (rows[i][2] > 0) { const px = Math.floor(a), was = peak.get(px); if (!was || was[0] < rows[i][2]) peak.set(px, [rows[i][2], Math.max(1, b - a)]); }
  }
  c.stroke();
  c.fillStyle = colour.disk;
  for (const [px, [most, w]] of peak) { const h = Math.max(1.5, Math.sqrt(most / pendingMost) * tall); c.globalAlpha = .85; c.fillRect(px, bottom - h, w, h); }
  c.globalAlpha = 1;
};
const arrow = (c, row, strong) => {
  const from = laneOf(row[1]), to = laneOf(row[2]);
  if (!from || !to) return;
  const x1 = x(row[0]), y1 = mid(from), lost = row[5] !== 1;
  let x2 = x(row[5] === 0 ? END : row[6]), y2 = mid(to);
  if (lost) { x2 = Math.min(x2, x1 + 26); y2 = y1 + Math.sign(y2 - y1) * Math.min(22, Math.abs(y2 - y1) / 2); }
  if (Math.max(x1, x2) < GUTTER || Math.min(x1, x2) > wide) return;
  c.strokeStyle = c.fillStyle = strong ? colour.pick : lost ? colour.lost : colour.arrow;
  c.globalAlpha = strong ? 1 : lost ? .9 : .5; c.lineWidth = strong ? 2 : 1;
  c.beginPath(); c.moveTo(x1, y1); c.lineTo(x2, y2); c.stroke();
  const turn = Math.atan2(y2 - y1, x2 - x1);
  c.beginPath();
  if (lost) { c.moveTo(x2 - 3, y2 - 3); c.lineTo(x2 + 3, y2 + 3); c.moveTo(x2 - 3, y2 + 3); c.lineTo(x2 + 3, y2 - 3); c.stroke(); }
  else { c.moveTo(x2, y2); c.lineTo(x2 - 7 * Math.cos(turn - .35), y2 - 7 * Math.sin(turn - .35)); c.lineTo(x2 - 7 * Math.cos(turn + .35), y2 - 7 * Math.sin(turn + .35)); c.fill(); }
  c.globalAlpha = 1;
};
const ARROWS_MOST = 900;
const drawMessages = (c) => {
  const from = first(P.messages, view.from - messagesLast, row0), to = first(P.messages, view.to, row0);
  if (to - from <= ARROWS_MOST) { for (let i = from; i < to; i++) arrow(c, P.messages[i], false); return; }
  // Too many to tell apart: how many each lane sends, by place.
  const bins = lanes.map(() => new Map()), nth = new Map(lanes.map((lane, at) => [lane.node, at]));
  let most = 1;
  for (let i = from; i < to; i++) {
    const row = P.messages[i], at = nth.get(row[1]);
    if (at === undefined || row[0] < view.from) continue;
    const px = Math.floor(x(row[0]) / 3) * 3, count = (bins[at].get(px) || 0) + 1;
    bins[at].set(px, count); most = Math.max(most, count);
  }
  c.fillStyle = colour.arrow; c.globalAlpha = .55;
  bins.forEach((bin, at) => { const lane = lanes[at], base = lane.kind === "node" ? lane.y + 16 : lane.y + lane.tall - 2; for (const [px, count] of bin) { const h = 1 + Math.sqrt(count / most) * (lane.kind === "node" ? 9 : 4); c.fillRect(px, base - h, 2, h); } });
  c.globalAlpha = 1;
};
const SHORT = { leader: "leads", lost: "lost", "pre-candidate": "asks", candidate: "asks" };
// What a replica, a disk and a node are at a moment: in the margin.
const drawMargin = (c) => {
  c.fillStyle = colour.card; c.fillRect(0, axis, GUTTER - 1, high); c.fillStyle = colour.line; c.fillRect(GUTTER - 1, axis, 1, high);
  c.font = LINE;
  if (faultRows) { c.fillStyle = colour.fault; c.fillText("faults", 8, axis + 14); }
  for (const lane of lanes) {
    c.fillStyle = colour.ink; c.font = lane.kind === "node" ? "600 12px ui-sans-serif, system-ui, sans-serif" : LINE;
    c.fillText(name(lane.node), 8, lane.y + 12);
    if (lane.kind !== "node") continue;
    const up = blocks[lane.node].find((block) => block.from <= view.now && view.now < block.to);
    c.font = "10px ui-sans-serif, system-ui, sans-serif"; c.textAlign = "right";
    c.fillStyle = up ? colour.soft : colour.fault; c.fillText(up ? "life " + up.life : "down", GUTTER - 8, lane.y + 12);
    lane.groups.forEach((group, nth) => {
      const rows = strips[lane.node].get(group).rows, row = rows[first(rows, view.now + 1, row0) - 1];
      c.fillStyle = colour.soft; c.textAlign = "left"; c.fillText("g" + group, 8, lane.y + 27 + nth * 11); c.textAlign = "right";
      if (row && up) { c.fillStyle = row[1] === "leader" ? colour.accent : colour.soft; c.fillText(GUTTER < 150 ? `${SHORT[row[1]] ?? ""} t${row[2]} c${row[3]}` : `${row[1]} t${row[2]} c${row[3]}`, GUTTER - 8, lane.y + 27 + nth * 11); }
    });
    if (lane.disk) {
      const rows = stakes[lane.node], row = rows[first(rows, view.now + 1, row0) - 1], y = lane.y + lane.tall - 10;
      c.fillStyle = colour.disk; c.fillText(row ? bytes(row[2]) + " unsynced" : "", GUTTER - 8, y - 11);
      c.fillStyle = colour.kept; c.fillText(row ? bytes(row[3]) + " durable" : "", GUTTER - 8, y);
    }
    c.textAlign = "left";
  }
};
const pickedMessages = () => {
  const picked = view.picked;
  if (!picked) return [];
  if (picked.kind === MESSAGES) return [P.messages[picked.row]];
  return picked.kind === OPS ? exchange(P.operations[picked.row]) : [];
};
const draw = () => {
  const c = stage.getContext("2d");
  c.clearRect(0, 0, wide, high); c.font = LINE;
  drawAxis(c); drawFaults(c);
  for (const lane of lanes) {
    if (lane.kind === "client") drawClient(c, lane); else drawLife(c, lane);
    if (lane.kind === "node") { drawRoles(c, lane); if (lane.disk) drawDisk(c, lane); }
  }
  if (view.arrows) drawMessages(c);
  pickedMessages().forEach((row) => arrow(c, row, true));
  const picked = view.picked;
  if (picked && picked.kind === OPS) {
    const op = P.operations[picked.row], lane = laneOf(laneOfClient.get(op.client));
    if (lane && opEnd(op) >= view.from && op.at <= view.to) { c.strokeStyle = colour.pick; c.lineWidth = 2; const a = Math.max(GUTTER, x(op.at)), b = Math.min(wide, x(opEnd(op))); c.strokeRect(a - 1, lane.y, Math.max(3, b - a + 2), 18); }
  }
  const hits = view.hits, low = first(hits, view.from, (m) => times[m]);
  c.fillStyle = colour.pick;
  for (let i = low; i < hits.length && times[hits[i]] <= view.to && i < low + 3000; i++) c.fillRect(x(times[hits[i]]) - 1, axis - 4, 2, 5);
  if (view.now >= view.from && view.now <= view.to) { c.fillStyle = colour.fault; c.fillRect(x(view.now) - .5, axis - 6, 1.5, high); }
  drawMargin(c); drawMap();
  $("now").value = secs(view.now) + " s"; $("slider").value = view.now / END * 100000;
};
const drawMap = () => {
  const c = map.getContext("2d"), w = map.clientWidth, at = (t) => t / END * w;
  c.clearRect(0, 0, w, 34);
  P.faults.forEach((fault) => { c.fillStyle = colour["fault-soft"]; c.fillRect(at(fault.at), 0, Math.max(1, at(fault.until) - at(fault.at)), 34); });
  P.operations.forEach((op) => { const bad = op.outcome !== "ok"; c.fillStyle = outcomeColour(op); c.globalAlpha = bad ? 1 : .35; c.fillRect(at(op.at), bad ? 4 : 15, 1.5, bad ? 26 : 15); });
  c.globalAlpha = 1; c.fillStyle = colour.fault;
  P.lives.forEach(([t, node, , what]) => { if ((what === "is killed" || what === "loses its power") && P.lanes[node]?.kind === "node") c.fillRect(at(t) - 1, 0, 2, 7); });
  c.font = "9px ui-sans-serif, system-ui, sans-serif"; c.fillStyle = colour.soft;
  let begins = 0;
  for (const [phase, to] of P.run.phases) {
    if (begins) c.fillRect(Math.round(at(begins)), 0, 1, 34);
    if (at(to) - at(begins) > c.measureText(phase).width + 10) c.fillText(phase, at(begins) + 5, 11);
    begins = to;
  }
  c.fillStyle = colour.pick; view.hits.slice(0, 4000).forEach((m) => c.fillRect(at(times[m]), 30, 1, 4));
  c.strokeStyle = colour.accent; c.lineWidth = 1.5; c.strokeRect(at(view.from) + 1, 1, Math.max(3, at(view.to) - at(view.from) - 2), 32);
  c.fillStyle = colour.fault; c.fillRect(at(view.now), 0, 1, 34);
};

// ── lists ──────────────────────────────────────────────────────────────────────────────────────

const item = (moment, tag) => {
  const kind = KINDS[kindOf[moment]], row = rowAt(moment);
  const made = el("li", { className: "k-" + kind.id }, el("time", {}, secs(times[moment])), el("b", {}, whoAt(moment)), el("span", {}, textAt(moment)));
  if (kind.id === "operations" && row.outcome !== "ok") made.classList.add(row.outcome === "failed" ? "bad" : "doubt");
  if (kind.id === "messages" && isLost(row) || kind.id === "disk" && row[3]) made.classList.add("bad");
  made.onclick = () => { pick(kindOf[moment], rowOf[moment]); go(times[moment]); };
  if (tag) made.classList.add(tag);
  return made;
};
let listed = null;
const list = () => {
  // Whoever plays reads later.
  const stamp = [view.now, KINDS.map((kind) => kind.on)].join();
  if (listed === stamp || view.playing && performance.now() - (list.at || 0) < 120) return;
  listed = stamp; list.at = performance.now();
  const here = $("here"), here0 = momentAt(view.now), before = [], after = [];
  for (let m = here0 - 1; m >= 0 && before.length < 40; m--) if (KINDS[kindOf[m]].on) before.push(m);
  for (let m = here0; m < total && after.length < 60; m++) if (KINDS[kindOf[m]].on) after.push(m);
  here.replaceChildren(...before.reverse().map((m) => item(m)), ...after.map((m, nth) => item(m, nth === 0 ? "at" : "later")));
  const at = here.querySelector(".at");
  if (at) here.scrollTop = at.offsetTop - here.offsetTop - 120;
};
// What a client and the nodes said to each other while an operation ran: it asks one thing at a time.
const exchange = (op) => {
  const lane = laneOfClient.get(op.client), end = opEnd(op), rows = [];
  for (let i = first(P.messages, op.at, row0); i < P.messages.length && P.messages[i][0] <= end; i++) {
    const row = P.messages[i];
    if (row[1] === lane || row[2] === lane) rows.push(row);
    if (rows.length >= 400) break;
  }
  return rows;
};
const line = (at, who, text, cls, then) => {
  const made = el("li", { className: cls || "" }, el("time", {}, secs(at)), el("b", {}, who), el("span", {}, text));
  made.onclick = then || (() => go(at));
  return made;
};
const story = (row) => {
  const op = P.operations[row], lane = laneOfClient.get(op.client), end = opEnd(op), box = [], rows = exchange(op);
  const facts = el("p", {}, `client ${op.client} asks for key ${op.key}: ${op.call}. `, el("b", { className: op.outcome }, op.outcome === "ok" ? op.answer : op.outcome),
    op.until === null ? ", never ended" : ` after ${lasts(end - op.at)}`);
  box.push(facts);
  const asked = rows.filter((m) => m[1] === lane && m[4] > 0), told = rows.filter((m) => m[2] === lane && m[4] > 0 && m[5] === 1);
  const tries = [...new Set(asked.map((m) => name(m[2])))], last = told[told.length - 1];
  if (P.messages.length) box.push(el("p", {}, asked.length ? `${asked.length} message${asked.length > 1 ? "s" : ""} to ${tries.join(", ")}${tries.length > 1 ? " (asked again elsewhere)" : ""}; ` : "nothing was sent; ",
    last ? `the last answer came from ${name(last[1])}.` : "no answer arrived."));
  if (op.outcome !== "ok") box.push(el("p", { className: op.outcome }, "why: " + (op.why || reason(op, asked, told))));
  const inside = [];
  inside.push([op.at, line(op.at, name(lane), "asks: " + op.call)]);
  rows.forEach((m) => inside.push([m[0], line(m[0], name(m[1]), KINDS[MESSAGES].text(m), isLost(m) ? "bad" : "", () => { pick(MESSAGES, P.messages.indexOf(m)); go(m[0]); })]));
  for (const id of ["connections", "words"]) {
    const kind = KINDS.find((one) => one.id === id);
    for (let i = first(kind.rows, op.at, row0); i < kind.rows.length && kind.rows[i][0] <= end; i++) if (kind.rows[i][1] === lane) inside.push([kind.rows[i][0], line(kind.rows[i][0], name(lane), kind.text(kind.rows[i]))]);
  }
  if (op.until !== null) inside.push([end + .5, line(end, name(lane), "is told: " + op.answer, op.outcome === "ok" ? "" : "bad")]);
  inside.sort((a, b) => a[0] - b[0]);
  box.push(el("h3", {}, "what was said"), el("ol", {}, ...inside.slice(0, 200).map((one) => one[1])));
  const meanwhile = P.faults.filter((f) => f.at <= end && f.until >= op.at).map((f) => [f.at, line(f.at, "world", `${f.text} (until ${secs(f.until, 3)})`, "k-faults")]);
  P.lives.forEach((l) => { if (l[0] >= op.at && l[0] <= end) meanwhile.push([l[0], line(l[0], name(l[1]), l[3], "k-lives")]); });
  P.beliefs.forEach((b) => { if (b[0] >= op.at && b[0] <= end && (b[3] === "leader" || b[3].endsWith("candidate")) && meanwhile.length < 60 && !meanwhile.some((m) => m[2] === b[1] + "/" + b[2] + "/" + b[3] + b[4])) meanwhile.push([b[0], line(b[0], name(b[1]), `group ${b[2]}: ${b[3]} in term ${b[4]}`), b[1] + "/" + b[2] + "/" + b[3] + b[4]]); });
  if (meanwhile.length) box.push(el("h3", {}, "meanwhile"), el("ol", {}, ...meanwhile.sort((a, b) => a[0] - b[0]).map((one) => one[1])));
  const same = P.operations.map((other, at) => [other, at]).filter(([other, at]) => at !== row && other.key === op.key && opEnd(other) >= op.at - 2e8 && other.at <= end + 2e8);
  if (same.length) box.push(el("h3", {}, `others on key ${op.key}, about then`), el("ol", {}, ...same.slice(0, 60).map(([other, at]) => line(other.at, "c" + other.client, `${other.call} = ${other.answer}`, other.outcome === "ok" ? "" : "doubt", () => { pick(OPS, at); go(other.at); }))));
  return box;
};
// When nobody wrote down why: what the wire says.
const reason = (op, asked, told) => {
  if (!P.messages.length || !asked.length) return "nothing of it was sent: no node could be reached";
  const lost = asked.filter((m) => m[5] !== 1).length;
  if (lost && !told.length) return `${lost} of ${asked.length} messages never arrived, and no answer came`;
  if (!told.length) return "it arrived, and no answer came";
  return op.outcome === "failed" ? "it was answered with a refusal" : "an answer did not settle it; what was asked before it may still happen";
};
const describe = () => {
  const picked = view.picked, detail = $("detail");
  if (!picked) { $("what").textContent = "what happened to …"; detail.replaceChildren(el("p", {}, "Click an operation, an arrow, a fault, or a line on the left.")); return; }
  const kind = KINDS[picked.kind], row = kind.rows[picked.row];
  $("what").textContent = "what happened to " + (picked.kind === OPS ? "an operation" : `one of ${kind.id}`);
  if (picked.kind === OPS) return detail.replaceChildren(...story(picked.row));
  const at = kind.at(row), box = [el("p", {}, el("b", {}, kind.who(row) < 0 ? "world" : name(kind.who(row))), " ", kind.text(row))];
  if (picked.kind === FAULTS) box.push(el("p", {}, row.until > row.at ? `from ${secs(row.at, 3)} s until ${secs(row.until, 3)} s` : `at ${secs(row.at, 3)} s`));
  if (picked.kind === MESSAGES) {
    const since = P.messages.slice(Math.max(0, picked.row - 400), picked.row).reverse().find((m) => m[1] === row[1] && m[2] === row[2]);
    const said = P.packets.filter((p) => p[1] === row[1] && p[2] === row[2] && p[0] <= row[0] && p[0] > (since ? since[0] : row[0] - 1e6));
    if (said.length) box.push(el("h3", {}, "said before it, to the same node"), el("ol", {}, ...said.slice(-12).map((p) => line(p[0], name(p[1]), p[3]))));
    if (row[5] === 1) box.push(el("h3", {}, "arrived"), el("ol", {}, line(row[6], name(row[2]), "after " + lasts(row[6] - row[0]))));
  }
  const busy = P.operations.map((op, nth) => [op, nth]).filter(([op]) => op.at <= at && opEnd(op) >= at).slice(0, 20);
  if (busy.length) box.push(el("h3", {}, "operations under way then"), el("ol", {}, ...busy.map(([op, nth]) => line(op.at, "c" + op.client, `k${op.key} ${op.call} = ${op.answer}`, op.outcome === "ok" ? "" : "doubt", () => { pick(OPS, nth); go(op.at); }))));
  detail.replaceChildren(...box);
};

// ── what is done ───────────────────────────────────────────────────────────────────────────────

let asked = 0;
const redraw = () => { if (!asked) asked = requestAnimationFrame(() => { asked = 0; draw(); list(); }); };
const look = (from, to) => {
  const span = clamp(to - from, 1000, END);
  view.from = clamp(from, 0, END - span); view.to = view.from + span; redraw();
};
const zoom = (by, at = view.now >= view.from && view.now <= view.to ? view.now : (view.from + view.to) / 2) => look(at - (at - view.from) * by, at + (view.to - at) * by);
const go = (t, keep) => {
  view.now = clamp(t, 0, END);
  const span = view.to - view.from;
  if (!keep && (view.now < view.from + span * .02 || view.now > view.to - span * .02)) look(view.now - span / 3, view.now + span * 2 / 3);
  redraw();
};
const pick = (kind, row) => { view.picked = kind === undefined ? null : { kind, row }; describe(); redraw(); };
// Shows an operation as a whole.
const show = (row) => {
  const op = P.operations[row], span = Math.max(opEnd(op) - op.at, 2e6);
  pick(OPS, row); look(op.at - span, opEnd(op) + span); go(op.at, true);
  stage.scrollIntoView({ block: "nearest" });
};
const step = (by) => {
  const here = momentAt(view.now + (by > 0 ? .5 : 0));
  for (let m = by > 0 ? here : here - 1; m >= 0 && m < total; m += by) if (KINDS[kindOf[m]].on && times[m] !== view.now) return go(times[m]);
};
const playing = (on) => { view.playing = on && view.now < END; $("play").textContent = view.playing ? "❚❚" : "▶"; if (view.playing) { tick.last = performance.now(); requestAnimationFrame(tick); } else list(); };
const tick = (at) => {
  if (!view.playing) return;
  const next = view.now + Math.max(0, at - tick.last) * 1e6 * SPEEDS[$("speed").selectedIndex][0];
  tick.last = at; go(next);
  if (next >= END) playing(false); else requestAnimationFrame(tick);
};
const search = () => {
  const tokens = $("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  view.hits = []; view.hit = -1;
  // Faults and people call them so.
  const short = P.lanes.map((lane, at) => lane.kind === "node" ? `n${at} ` : lane.client !== null ? `c${lane.client} ` : "");
  if (tokens.length) for (let m = 0; m < total && view.hits.length < 50000; m++) {
    const who = KINDS[kindOf[m]].who(rowAt(m));
    const text = ((short[who] ?? "") + whoAt(m) + " " + KINDS[kindOf[m]].id + " " + textAt(m)).toLowerCase();
    if (tokens.every((token) => text.includes(token))) view.hits.push(m);
  }
  tell(); redraw();
};
const tell = () => { $("found").value = $("query").value ? `${view.hit < 0 ? "" : view.hit + 1 + " / "}${view.hits.length}` : ""; };
const match = (by) => {
  if (!view.hits.length) return;
  view.hit = view.hit < 0 ? (by > 0 ? first(view.hits, view.now, (m) => times[m]) : first(view.hits, view.now, (m) => times[m]) - 1) : view.hit + by;
  view.hit = (view.hit + view.hits.length) % view.hits.length;
  const m = view.hits[view.hit];
  pick(kindOf[m], rowOf[m]); go(times[m]); tell();
};

// What lies under a point: an operation, a fault, an arrow, a life.
const under = (px, py) => {
  if (px < GUTTER) return null;
  const t = back(px), slack = 3 * (view.to - view.from) / (wide - GUTTER);
  for (let at = P.faults.length - 1; at >= 0; at--) { const y = axis + 4 + faultRow[at] * 15, f = P.faults[at]; if (py >= y && py < y + 13 && t >= f.at - slack && t <= f.until + slack * 3) return { kind: FAULTS, row: at }; }
  const lane = lanes.find((one) => py >= one.y && py < one.y + one.tall);
  if (lane && lane.kind === "client") {
    let best = null, gap = slack;
    for (const at of opsOf[lane.node]) { const op = P.operations[at], far = t < op.at ? op.at - t : t > opEnd(op) ? t - opEnd(op) : 0; if (far < gap || far === 0 && gap > 0) { best = at; gap = far; } }
    if (best !== null && gap < slack) return { kind: OPS, row: best };
  }
  const from = first(P.messages, view.from - messagesLast, row0), to = first(P.messages, view.to, row0);
  if (view.arrows && to - from <= ARROWS_MOST) {
    let best = null, near = 5;
    for (let i = from; i < to; i++) {
      const row = P.messages[i], a = laneOf(row[1]), b = laneOf(row[2]);
      if (!a || !b) continue;
      const x1 = x(row[0]), y1 = mid(a), x2 = x(row[5] === 1 ? row[6] : row[0]), y2 = row[5] === 1 ? mid(b) : y1, dx = x2 - x1, dy = y2 - y1;
      const along = clamp(((px - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy || 1), 0, 1), far = Math.hypot(px - x1 - along * dx, py - y1 - along * dy);
      if (far < near) { near = far; best = i; }
    }
    if (best !== null) return { kind: MESSAGES, row: best };
  }
  if (lane) { let best = null; P.lives.forEach((l, at) => { if (l[1] === lane.node && Math.abs(l[0] - t) < slack * 2) best = at; }); if (best !== null) return { kind: LIVES, row: best }; }
  return null;
};
const hint = (px, py) => {
  const found = under(px, py);
  if (found) { const kind = KINDS[found.kind], row = kind.rows[found.row]; return `${secs(kind.at(row))} s  ${kind.who(row) < 0 ? "world" : name(kind.who(row))}\n${kind.text(row)}`; }
  const lane = lanes.find((one) => py >= one.y && py < one.y + one.tall), t = back(px);
  if (!lane || lane.kind !== "node" || px < GUTTER) return null;
  const nth = Math.floor((py - lane.y - 19) / 11), group = lane.groups[nth];
  if (group !== undefined && nth >= 0) { const rows = strips[lane.node].get(group).rows, row = rows[first(rows, t, row0) - 1]; return row ? `${name(lane.node)}, group ${group}: ${row[1]} in term ${row[2]}, committed ${row[3]}` : null; }
  if (lane.disk && py > lane.y + 19 + lane.groups.length * 11) { const rows = stakes[lane.node], row = rows[first(rows, t, row0) - 1]; return row ? `${name(lane.node)}: ${bytes(row[2])} written and not synced, ${bytes(row[3])} durable` : null; }
  return null;
};

const listen = () => {
  const here = (e) => { const at = stage.getBoundingClientRect(); return [e.clientX - at.left, e.clientY - at.top]; };
  let drag = null;
  stage.onpointerdown = (e) => { stage.setPointerCapture(e.pointerId); drag = { x: e.clientX, from: view.from, to: view.to, moved: false }; };
  stage.onpointermove = (e) => {
    const [px, py] = here(e);
    if (drag) {
      const by = e.clientX - drag.x;
      drag.moved ||= Math.abs(by) > 3;
      if (drag.moved) { const t = by / (wide - GUTTER) * (drag.to - drag.from); look(drag.from - t, drag.to - t); tip.hidden = true; }
      return;
    }
    const text = hint(px, py);
    tip.hidden = !text;
    if (text) { tip.textContent = text; tip.style.left = Math.min(innerWidth - 300, e.clientX + 14) + "px"; tip.style.top = e.clientY + 14 + "px"; }
  };
  stage.onpointerup = (e) => {
    const still = drag && !drag.moved; drag = null;
    if (!still) return;
    const [px, py] = here(e), found = under(px, py);
    if (found) { pick(found.kind, found.row); go(KINDS[found.kind].at(KINDS[found.kind].rows[found.row]), true); }
    else if (px >= GUTTER) { go(back(px), true); }
  };
  stage.onpointerleave = () => { tip.hidden = true; };
  stage.onpointercancel = () => { drag = null; };
  stage.addEventListener("wheel", (e) => {
    // A page that is longer than the window still scrolls: sideways pans, with a key held it zooms.
    if (!e.ctrlKey && !e.shiftKey && !e.altKey && Math.abs(e.deltaX) <= Math.abs(e.deltaY)) return;
    e.preventDefault();
    const span = view.to - view.from;
    if (e.ctrlKey || e.altKey) zoom(Math.exp(clamp(e.deltaY, -80, 80) / 200), Math.max(view.from, back(here(e)[0])));
    else { const by = (e.deltaX || e.deltaY) / (wide - GUTTER) * span; look(view.from + by, view.to + by); }
  }, { passive: false });
  stage.ondblclick = (e) => zoom(e.shiftKey ? 3 : 1 / 3, Math.max(view.from, back(here(e)[0])));
  const jump = (e) => { const at = map.getBoundingClientRect(), t = (e.clientX - at.left) / at.width * END, span = view.to - view.from; look(t - span / 2, t + span / 2); go(t, true); };
  map.onpointerdown = (e) => { map.setPointerCapture(e.pointerId); jump(e); map.onpointermove = jump; };
  map.onpointerup = () => { map.onpointermove = null; };
  $("slider").oninput = () => go($("slider").value / 100000 * END);
  $("play").onclick = () => playing(!view.playing);
  $("in").onclick = () => zoom(1 / 2); $("out").onclick = () => zoom(2); $("fit").onclick = () => look(0, END);
  $("next").onclick = () => match(1); $("prev").onclick = () => match(-1);
  let later = 0;
  $("query").oninput = () => { clearTimeout(later); later = setTimeout(search, 200); };
  $("query").onkeydown = (e) => { if (e.key === "Enter") { clearTimeout(later); if (!view.hits.length) search(); match(e.shiftKey ? -1 : 1); } if (e.key === "Escape") { $("query").value = ""; search(); stage.focus(); } };
  $("theme").onclick = () => theme(root.dataset.theme === "dark" ? "light" : "dark");
  addEventListener("resize", () => { layout(); redraw(); });
  addEventListener("keydown", (e) => {
    if (e.target.matches("input[type=search], select") || e.ctrlKey || e.metaKey || e.altKey) return;
    const span = view.to - view.from, keys = {
      " ": () => playing(!view.playing), "+": () => zoom(1 / 2), "=": () => zoom(1 / 2), "-": () => zoom(2), "0": () => look(0, END),
      ArrowRight: () => e.shiftKey ? go(view.now + span / 2) : step(1), ArrowLeft: () => e.shiftKey ? go(view.now - span / 2) : step(-1),
      Home: () => go(0), End: () => go(END), n: () => match(1), N: () => match(-1), "/": () => $("query").focus(), Escape: () => pick(),
    };
    if (keys[e.key] && !(e.key === " " && e.target.matches("button, summary"))) { e.preventDefault(); keys[e.key](); }
  });
};
const theme = (which) => { root.dataset.theme = which; readColours(); redraw(); };

// ── the page ───────────────────────────────────────────────────────────────────────────────────

const fill = () => {
  const run = P.run, holds = run.verdict === "holds";
  $("scenario").textContent = run.scenario.replaceAll("_", " "); $("seed").textContent = "seed " + run.seed; $("about").textContent = run.about;
  $("verdict").textContent = holds ? "holds" : "refused"; $("verdict").className = holds ? "" : "refused";
  const [ok, failed, unknown] = run.tally;
  for (const [term, value] of [["commit", run.commit], ["digest", run.digest], ["simulated", secs(END, 2) + " s"], ["operations", `${ok} ok, ${failed} failed, ${unknown} unknown`], ["faults", P.faults.length], ["moments", total.toLocaleString("en")]])
    $("facts").append(el("div", {}, el("dt", {}, term), el("dd", {}, String(value))));
  for (const judge of P.judges) $("judges").append(el("span", { className: "judge " + judge.said.split(" ")[0], title: [judge.demands, judge.said + (judge.words ? ": " + judge.words : "")].filter(Boolean).join("\n") }, judge.name));
  run.replay.forEach((command) => $("replay").append(el("code", {}, command)));
  $("options").textContent = run.drawn;
  if (P.refusal) {
    const lines = P.refusal.evidence.map(([text, op]) => el("div", {}, op === null ? text : el("button", { onclick: () => show(op), title: "show this operation" }, text)));
    $("refusal").hidden = false;
    $("refusal").append(el("h2", {}, `${P.refusal.judge}: ${P.refusal.symptom}`), el("div", { id: "evidence" }, ...lines));
    // What convicts stands last.
    $("evidence").scrollTop = $("evidence").scrollHeight;
  }
  SPEEDS.forEach(([, text]) => $("speed").append(el("option", {}, text)));
  $("speed").selectedIndex = 1;
  const toggle = (into, text, on, then) => into.append(el("label", {}, el("input", { type: "checkbox", checked: on, onchange: (e) => then(e.target.checked) }), text));
  toggle($("toggles"), "arrows", view.arrows, (on) => { view.arrows = on; redraw(); });
  toggle($("toggles"), "disks", view.disks, (on) => { view.disks = on; layout(); redraw(); });
  toggle($("toggles"), "helpers", view.others, (on) => { view.others = on; layout(); redraw(); });
  KINDS.forEach((kind) => kind.rows.length && toggle($("kinds"), kind.id, kind.on, (on) => { kind.on = on; redraw(); }));
  for (const [key, text] of [["good", "ok"], ["bad", "failed"], ["doubt", "unknown"], ["node", "a life"], ["fault", "a fault, a death"], ["held", "held, or a candidate"], ["disk", "unsynced (root scale)"], ["kept", "durable"]])
    $("legend").append(el("span", {}, Object.assign(el("i", {}), { style: `background:var(--${key})` }), text));
  $("legend").append(el("span", {}, "a term has a hue, strong where it leads · drag to move, ctrl + wheel or double click to zoom"));
  const hidden = strips.map((groups, node) => groups.size > GROUPS_MOST ? `${name(node)} has ${groups.size} groups, of which the first ${GROUPS_MOST} are drawn.` : "");
  $("left").textContent = [...hidden, ...P.left_out.map(([what, count, from]) => `${count.toLocaleString("en")} ${what} before ${secs(from, 3)} s are left out.`)].filter(Boolean).join(" ");
};
fill();
readColours();
const wish = new URLSearchParams(location.hash.slice(1));
theme(wish.get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
if (wish.has("others")) view.others = true;
layout(); listen(); describe();
const guilty = P.refusal && P.refusal.evidence.findLast(([, op]) => op !== null);
if (wish.has("op")) show(clamp(+wish.get("op") | 0, 0, P.operations.length - 1));
else if (guilty) { pick(OPS, guilty[1]); go(P.operations[guilty[1]].at, true); }
if (wish.has("t")) { const t = +wish.get("t") * 1e9, w = +(wish.get("w") || 1) * 1e9; look(t - w / 2, t + w / 2); go(t, true); }
if (wish.has("q")) { $("query").value = wish.get("q"); search(); match(1); }
addEventListener("load", () => { layout(); draw(); list(); });
draw(); list();
Object.assign(root.dataset, { lanes: P.lanes.length, moments: total, operations: P.operations.length, found: view.hits.length, drawn: lanes.length, fits: root.scrollWidth <= innerWidth, state: root.dataset.state === "failed" ? "failed" : "ready" });
})();
