"use strict";

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const [canvas, video, pen] = [$("canvas"), $("video"), $("canvas").getContext("2d")];

// What is looked at: its pixels (null where the browser cannot show them), the file to ask
// about again, what was found in it, and what of that is shown.
const now = { picture: null, file: null, found: null, hidden: new Set(), near: null };
let asking = null; // the request on its way
let camera = null; // the open camera

// ---- asking the server ----

// The server is asked for all that is surer than the floor; the threshold then only hides. What is
// suppressed never depends on less sure boxes, so this is what the server would answer.
async function ask(blob) {
  const query = new URLSearchParams({
    thresh: facts.floor, nms: $("overlap").value, letterbox: $("letterbox").checked,
  });
  asking?.abort();
  const mine = (asking = new AbortController());
  const started = performance.now();
  const answer = await fetch(`detect?${query}`, { method: "POST", body: blob, signal: mine.signal });
  const content = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(content.error.message), content.error);
  const network = /network;dur=([\d.]+)/.exec(answer.headers.get("server-timing"));
  return { ...content, network: Number(network?.[1]), total: performance.now() - started };
}

async function look(file) {
  if (file.size > facts.bytes) return say(`This file is larger than ${facts.bytes >> 20} MiB.`);
  $("busy").hidden = false;
  try {
    const found = await ask(file);
    Object.assign(now, { file, found, picture: await createImageBitmap(file).catch(() => null) });
    $("timing").textContent =
      `network ${found.network.toFixed(1)} ms, in all ${found.total.toFixed(0)} ms`;
    say(now.picture ? "" : "The browser cannot show this kind of file; these are its boxes.");
    show();
  } catch (error) {
    if (error.name === "AbortError") return; // a newer one is on its way
    say(`${error.message}`);
  }
  $("busy").hidden = true;
}

const again = debounced(() => now.file && !camera && look(now.file), 150);

function debounced(work, milliseconds) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(work, milliseconds); };
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

// ---- showing ----

function shown() {
  const least = Number($("thresh").value);
  return now.found.detections.filter((one) => one.score > least);
}

const visible = () => shown().filter((one) => !now.hidden.has(one.class_id));

function show() {
  $("thresh-value").textContent = Number($("thresh").value).toFixed(2);
  $("overlap-value").textContent = Number($("overlap").value).toFixed(2);
  if (!now.found) return;
  $("empty").hidden = true;
  const those = visible();
  $("count").textContent = those.length;
  $("count-word").textContent = those.length === 1 ? "object" : "objects";
  now.near = null;
  chips();
  $("list").replaceChildren(...those.map(row));
  draw();
}

const colour = (one) => facts.colours[one.class_id];

function dot(one) {
  const element = document.createElement("span");
  element.className = "dot";
  element.style.background = colour(one);
  return element;
}

// One button a class, which hides the class and shows it again.
function chips() {
  const classes = new Map();
  for (const one of shown()) {
    const those = classes.get(one.class_id) ?? [];
    classes.set(one.class_id, [...those, one]);
  }
  $("classes").replaceChildren(...[...classes.values()].map((those) => {
    const chip = document.createElement("button");
    const id = those[0].class_id;
    chip.type = "button";
    chip.className = "chip";
    chip.setAttribute("aria-pressed", !now.hidden.has(id));
    chip.append(dot(those[0]), `${those[0].name} ${those.length}`);
    chip.onclick = () => { now.hidden.delete(id) || now.hidden.add(id); show(); };
    return chip;
  }));
}

function row(one) {
  const element = document.createElement("li");
  const [name, score] = [document.createElement("span"), document.createElement("span")];
  [name.className, name.textContent] = ["name", one.name];
  [score.className, score.textContent] = ["score", `${Math.round(100 * one.score)} %`];
  element.append(dot(one), name, score);
  element.onmouseenter = () => { now.near = one; draw(); };
  element.onmouseleave = () => { now.near = null; draw(); };
  return element;
}

// The picture as large as the stage allows, at the pixels of the screen, frames on top.
function draw() {
  if (!now.found) return;
  const [height, width] = now.found.image_size;
  const stage = $("stage").getBoundingClientRect();
  const scale = Math.min((stage.width - 28) / width, (stage.height - 28) / height);
  const dense = window.devicePixelRatio || 1;
  canvas.style.width = `${width * scale}px`;
  canvas.style.height = `${height * scale}px`;
  canvas.width = Math.round(width * scale * dense);
  canvas.height = Math.round(height * scale * dense);
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.imageSmoothingQuality = "high";
  if (now.picture) pen.drawImage(now.picture, 0, 0, width * scale, height * scale);
  const those = visible();
  for (const one of [...those].reverse()) frame(one, scale); // the surest on top
  const taken = []; // by plates: the near one chooses first, then the surest
  those.sort((a, b) => (b === now.near) - (a === now.near));
  for (const one of those) plate(one, scale, taken, width * scale, height * scale);
}

const dimmed = (one) => now.near && now.near !== one;

function frame(one, scale) {
  const [x1, y1, x2, y2] = one.box_xyxy.map((value) => value * scale);
  pen.globalAlpha = dimmed(one) ? 0.2 : 1;
  pen.beginPath();
  pen.roundRect(x1, y1, x2 - x1, y2 - y1, 3);
  pen.strokeStyle = "rgb(0 0 0 / 45%)";
  pen.lineWidth = 4;
  pen.stroke();
  pen.strokeStyle = colour(one);
  pen.lineWidth = 2.5;
  pen.stroke();
  if (now.near === one) {
    pen.globalAlpha = 0.18;
    pen.fillStyle = colour(one);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

// Name and score on a plate above the box, else within or below it; none where there is no room.
function plate(one, scale, taken, width, height) {
  const [x1, y1, , y2] = one.box_xyxy.map((value) => value * scale);
  pen.font = "600 13px system-ui, sans-serif";
  const text = `${one.name} ${one.score.toFixed(2)}`;
  const size = [pen.measureText(text).width + 12, 20];
  const left = Math.max(0, Math.min(x1 - 1, width - size[0]));
  const tops = [y1 - 21, y1 + 2, y2 + 1, y2 - 22, ...[1, 2, 3, 4].map((n) => y1 + 2 + 21 * n)];
  const top = tops.find((top) => top >= 0 && top + size[1] <= height
    && !taken.some(([l, t, w]) =>
      left < l + w && l < left + size[0] && top < t + size[1] && t < top + size[1]));
  if (top === undefined) return;
  taken.push([left, top, size[0]]);
  pen.globalAlpha = dimmed(one) ? 0.2 : 1;
  pen.fillStyle = colour(one);
  pen.beginPath();
  pen.roundRect(left, top, ...size, 4);
  pen.fill();
  pen.fillStyle = bright(colour(one)) ? "#000" : "#fff";
  pen.fillText(text, left + 6, top + 14.5);
  pen.globalAlpha = 1;
}

function bright(hex) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

// ---- the camera: the next frame is taken when the last one is answered ----

async function openCamera() {
  if (!navigator.mediaDevices) {
    return say("Browsers give the camera only to https, or to a server on this machine.");
  }
  try {
    const wish = { video: { facingMode: "environment", width: { ideal: 1280 } } };
    camera = await navigator.mediaDevices.getUserMedia(wish);
  } catch (error) {
    return say(`No camera: ${error.message}`);
  }
  video.srcObject = camera;
  await video.play();
  pressed(true);
  say("");
  follow();
}

function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  asking?.abort();
  pressed(false);
}

function pressed(on) {
  $("camera").setAttribute("aria-pressed", on);
  $("camera").textContent = on ? "Stop camera" : "Camera";
}

async function follow() {
  const mine = camera;
  const still = document.createElement("canvas");
  let last = performance.now();
  let pace = 0;
  while (camera === mine) {
    [still.width, still.height] = [video.videoWidth, video.videoHeight];
    still.getContext("2d").drawImage(video, 0, 0);
    const file = await new Promise((done) => still.toBlob(done, "image/jpeg", 0.85));
    try {
      const found = await ask(file);
      if (camera !== mine) return;
      Object.assign(now, { file, found, picture: await createImageBitmap(still) });
      const rate = 1000 / (performance.now() - last);
      pace = pace ? 0.8 * pace + 0.2 * rate : rate;
      $("timing").textContent =
        `network ${found.network.toFixed(1)} ms, ${pace.toFixed(0)} frames a second`;
      say("");
      show();
    } catch (error) {
      if (error.name === "AbortError") return;
      say(error.message);
      await new Promise((done) => setTimeout(done, 1000));
    }
    last = performance.now();
    await new Promise(requestAnimationFrame);
  }
}

// ---- what people do ----

function take(file) {
  if (!file) return;
  closeCamera();
  look(file);
}

$("file").onchange = () => { take($("file").files[0]); $("file").value = ""; };
$("camera").onclick = () => (camera ? closeCamera() : openCamera());
$("thresh").oninput = show;
$("overlap").oninput = () => { show(); again(); };
$("letterbox").onchange = again;
document.onpaste = (event) => take(event.clipboardData.files[0]);
document.ondragover = (event) => { event.preventDefault(); $("stage").classList.add("over"); };
document.ondragleave = (event) => event.relatedTarget ?? $("stage").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  take(event.dataTransfer.files[0]);
};
new ResizeObserver(draw).observe($("stage"));

document.title = `yolo: ${facts.model}`;
$("model").textContent = `${facts.model}, ${facts.input[1]} x ${facts.input[0]}`;
$("thresh").min = facts.floor;
$("thresh").value = facts.thresh;
$("overlap").value = facts.nms;
$("letterbox").checked = facts.letterbox;
show();
