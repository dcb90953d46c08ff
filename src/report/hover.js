// Values under the pointer. A line carries its name and its points as "x:y x:y ..."; all lines of a chart that have the nearest x
// are shown.
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.hidden = true;
for (const svg of document.querySelectorAll("figure svg")) {
  let lines;
  const points = line => {
    const values = line.dataset.v.split(" ").map(v => v.split(":"));
    return [...line.points].map((p, i) => ({line, x: values[i][0], y: values[i][1], at: p.matrixTransform(line.getScreenCTM())}));
  };
  svg.addEventListener("pointermove", event => {
    lines ??= [...svg.querySelectorAll("[data-v]")];
    const all = lines.map(points);
    const far = p => Math.abs(p.at.x - event.clientX);
    const nearest = all.flat().reduce((a, b) => (a && far(a) <= far(b) ? a : b), null);
    if (!nearest) return;
    const rows = all.flatMap(of => of.filter(p => Math.abs(p.at.x - nearest.at.x) < 0.5).slice(-1));
    rows.sort((a, b) => a.at.y - b.at.y);
    tip.replaceChildren("at " + Number(nearest.x).toLocaleString("en").replace("-", "\u2212"));
    for (const p of rows) {
      const row = tip.appendChild(document.createElement("div"));
      const mark = row.appendChild(document.createElement("i"));
      mark.style.background = getComputedStyle(p.line).stroke;
      row.append(p.y + (p.line.dataset.n ? "  " + p.line.dataset.n : ""));
    }
    tip.hidden = false;
    const left = nearest.at.x + tip.offsetWidth + 24 > innerWidth ? nearest.at.x - tip.offsetWidth - 12 : nearest.at.x + 12;
    tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 4)}px)`;
  });
  svg.addEventListener("pointerleave", () => (tip.hidden = true));
}
