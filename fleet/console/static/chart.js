// Draws a table of figures: the first column gives the day, every cell with a data-value a series of its column.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const usd = (value) => (value == null ? "–" : "$" + (value >= 1 || value === 0 ? value.toFixed(2) : value.toPrecision(2)));

  const read = (table) => {
    const rows = [...table.tBodies[0].rows].reverse();
    const days = rows.map((row) => Date.parse(row.cells[0].textContent.trim() + "T00:00:00Z") / 1000);
    const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    const columns = names.map((_, at) => rows.map((row) => row.cells[at + 1].dataset.value));
    return { days, series: columns.map((values, at) => ({ name: names[at], values: values.map(Number) })).filter((_, at) => columns[at].every((value) => value !== undefined)) };
  };

  // Each series is drawn on top of those before it, the largest sum first, so that the last one's bars come in front.
  const stacked = (series) => {
    const sums = series.length ? series[0].values.map(() => 0) : [];
    return series.map((each) => each.values.map((value, at) => (sums[at] += value)));
  };

  const draw = (place) => {
    const table = document.getElementById("table-" + place.dataset.chart);
    if (!table) return;
    const { days, series } = read(table);
    const data = stacked(series).reverse();
    const drawn = series.map((each, at) => ({ ...each, colour: css("--c" + (at % 6)) })).reverse();
    const axis = { stroke: css("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
    place.replaceChildren();
    table.closest("details").open = false;
    new uPlot({
      width: place.clientWidth, height: 240, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      legend: { show: true, live: true }, cursor: { drag: { x: false, y: false } },
      scales: { x: { range: (_, min, max) => [min - 43200, max + 43200] }, y: { range: (_, min, max) => [0, max || 1] } },
      axes: [{ ...axis, grid: { show: false }, values: [[86400, "{D} {MMM}", null, null, null, null, null, null, 1]], incrs: [86400, 172800, 432000, 864000] },
        { ...axis, size: 70, values: (_, ticks) => ticks.map(usd) }],
      series: [{ label: "Day", value: (_, at) => (at == null ? "–" : new Date(at * 1000).toISOString().slice(0, 10)) },
        ...drawn.map((each, at) => ({
          label: each.name, fill: each.colour, stroke: each.colour, width: 0, points: { show: false },
          paths: uPlot.paths.bars({ size: [0.7, 48] }), value: (_, _v, _s, i) => usd(i == null ? null : each.values[i]),
        }))],
    }, [days, ...data], place);
  };

  const all = () => document.querySelectorAll("[data-chart]").forEach(draw);
  all();
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(all, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
