"use strict";

const element = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)}%`;
let newest = 0;

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

async function recognize(picture) {
  const mine = ++newest; // An answer that is overtaken by a later picture is not shown.
  const read = new FormData(element("form")).get("read");
  element("result").hidden = true;
  say("Reading …");
  let answer;
  try {
    const response = await fetch(`/v1/recognize?read=${read}`, { method: "POST", body: picture });
    answer = await response.json();
    if (!response.ok) {
      const wait = response.headers.get("Retry-After");
      throw new Error(answer.detail + (wait ? ` Try again in ${wait} s.` : ""));
    }
  } catch (error) {
    if (mine === newest) say(error.message, true);
    return;
  }
  const image = await createImageBitmap(picture).catch(() => null);
  if (mine === newest) show(answer, image);
}

function show(answer, image) {
  draw(answer, image);
  const lines = answer.text ?? [];
  element("lines").replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    const confidence = document.createElement("small");
    confidence.textContent = ` ${percent(line.confidence)}`;
    item.append(line.text, confidence);
    return item;
  }));
  element("digit").hidden = !answer.digit;
  if (answer.digit) {
    const confidence = document.createElement("small");
    confidence.textContent = ` ${percent(answer.digit.confidence)}`;
    element("digit").replaceChildren(String(answer.digit.digit), confidence);
  }
  const models = Object.entries(answer.models).map(([name, version]) => `${name} (version ${version || "?"})`);
  element("models").textContent = models.length ? `by ${models.join(", ")}` : "";
  const found = "digit" in answer ? (answer.digit ? "One digit" : "Nothing is drawn here")
    : lines.length === 1 ? "One line of text" : `${lines.length || "No"} lines of text`;
  say(`${found}, in ${answer.seconds.toFixed(2)} s.`);
  element("result").hidden = false;
}

function draw(answer, image) {
  const canvas = element("picture");
  canvas.width = answer.width;
  canvas.height = answer.height;
  const context = canvas.getContext("2d");
  if (image) context.drawImage(image, 0, 0, answer.width, answer.height);
  context.strokeStyle = "#00c2a8";
  context.lineWidth = Math.max(2, answer.width / 300);
  for (const { corners } of answer.text ?? []) {
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x, y);
    context.closePath();
    context.stroke();
  }
}

element("file").addEventListener("change", (event) => {
  if (event.target.files.length) recognize(event.target.files[0]);
  event.target.value = ""; // So that the same file can be chosen again.
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", async () => {
    document.querySelector(`[name=read][value=${button.dataset.read}]`).checked = true;
    const response = await fetch(`/samples/${button.dataset.sample}.png`);
    recognize(await response.blob());
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) recognize(event.dataTransfer.files[0]);
});
