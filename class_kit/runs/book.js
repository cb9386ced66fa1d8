"use strict";

// a browser may refuse to remember anything for a page that was opened from a folder
const recall = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
const remember = theme => { try { localStorage.setItem("theme", theme); } catch { /* until the next page */ } };
const page = document.documentElement;
page.dataset.theme = recall() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", () => {
    page.dataset.theme = page.dataset.theme === "dark" ? "light" : "dark";
    remember(page.dataset.theme);
  });
  document.querySelectorAll(".view:has(.chart)").forEach(draw);
  const asked = new URLSearchParams(location.search).get("q")?.trim();
  if (asked && document.getElementById("found")) search(asked);
});

async function draw(figure) {
  const part = name => figure.querySelector(name);
  const { spec, controls, says, lines } = JSON.parse(part("script").textContent);
  // a chart's expressions are interpreted: the page's policy allows no eval
  const options = { ast: true, actions: false, renderer: "svg", bind: part(".controls") };
  const { view } = await vegaEmbed(part(".chart"), spec, options);
  const say = () => {
    const { words, cards = [] } = says[controls.map(name => view.signal(name)).join("|")];
    part("p").textContent = words;
    part("pre").textContent = lines.replace(/\$(\w+)/g, (_, name) => view.signal(name));
    for (const card of part(".cards").children) card.hidden = true;
    for (const [at, count] of cards) {
      const card = part(".cards").children[at];
      card.hidden = false;
      card.querySelector("b").textContent = `N = ${count}`;
    }
  };
  controls.forEach(name => view.addSignalListener(name, say));
  say();
}

function search(asked) {
  const words = asked.toLowerCase().split(/\s+/), found = document.getElementById("found");
  document.querySelector("input[name=q]").value = asked;
  const sections = JSON.parse(document.getElementById("sections").textContent);
  for (const [address, heading, text] of sections) {
    const low = `${heading} ${text}`.toLowerCase();
    if (!words.every(word => low.includes(word))) continue;
    const line = document.createElement("li"), link = document.createElement("a");
    const at = Math.max(0, text.toLowerCase().indexOf(words[0]) - 60);
    link.href = address;
    link.textContent = heading;
    line.append(link, ` (${address.split(".")[0]}) … ${text.slice(at, at + 200)} …`);
    found.querySelector("ol").append(line);
  }
  if (!found.querySelector("li")) found.querySelector("ol").replaceWith(`Nothing holds ${asked}.`);
  found.hidden = false;
}
