"use strict";
(() => {
  const words = JSON.parse(document.getElementById("words").textContent);
  const told = (text, number, count) =>
    text.replace("{number}", number).replace("{count}", count);

  // A slider with two buttons; show(step) is called with steps from 1 on.
  function controls(root, count, show) {
    const box = root.querySelector(".controls");
    const range = box.querySelector("input");
    const output = box.querySelector("output");
    const at = () => Number(range.value);
    const go = (step) => {
      range.value = Math.min(Math.max(step, 1), Number(range.max));
      const text = told(words.step_of, range.value, range.max);
      output.textContent = text;
      range.setAttribute("aria-valuetext", text);
      show(at());
    };
    range.max = count;
    range.addEventListener("input", () => go(at()));
    box.querySelector(".back").addEventListener("click", () => go(at() - 1));
    box.querySelector(".forward").addEventListener("click", () => go(at() + 1));
    root.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const typed = event.target.closest("input, select, .scroll");
      if (step && !typed && !event.altKey && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        go(at() + step);
      }
    });
    box.hidden = false;
    return { go, limit: (most) => { range.max = most; } };
  }

  // Registers at each step: what is stored is what changed.
  function expand(steps, registers) {
    let values = registers.map(() => "0");
    return steps.map(([instruction, mode, changed, memory]) => {
      values = values.slice();
      for (const [number, value] of Object.entries(changed)) values[number] = value;
      return { instruction, mode, values, memory };
    });
  }

  function replay(root) {
    const data = JSON.parse(root.querySelector(".steps").textContent);
    const find = (name) => root.querySelector(name);
    const select = find("select");
    const rows = data.registers.map((name) => {
      const row = find(".registers tbody").insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name.replace("_", " ").toUpperCase();
      row.append(head);
      return { row, cell: row.insertCell() };
    });
    for (const [number, cpu] of data.cpus.entries()) {
      select.add(new Option(cpu.name, number));
    }
    const expanded = new Map();
    const steps = () => {
      const number = Number(select.value);
      if (!expanded.has(number)) {
        expanded.set(number, expand(data.cpus[number].steps, data.registers));
      }
      return expanded.get(number);
    };
    let intel = false;
    let now = 1;
    const name = (number) => data.registers[number].replace("_", " ").toUpperCase();
    const effect = (one, after) => after
      ? data.registers.map((_, number) => number)
        .filter((number) => one.values[number] !== after.values[number] && data.registers[number] !== "rip")
        .map((number) => `${name(number)} ${"0x" + one.values[number]} → ${"0x" + after.values[number]}`)
      : [];
    const show = (step) => {
      now = step;
      const all = steps();
      const one = all[step - 1];
      const before = all[step - 2];
      const [address, att, other, place, file, source] = data.instructions[one.instruction];
      find(".mode").textContent = words.modes[one.mode] || one.mode;
      find(".mode").className = `mode ${one.mode}`;
      find(".address").textContent = address;
      find(".instruction").textContent = intel ? other : att;
      find(".place").textContent = place;
      find(".file").textContent = file;
      find(".source").textContent = source;
      const changes = all[step] ? words.nothing : words.last;
      find(".effect").textContent = effect(one, all[step]).join(", ") || changes;
      find(".memory-access").textContent = one.memory.join(", ");
      find(".touched").hidden = !one.memory.length;
      rows.forEach(({ row, cell }, number) => {
        const changed = before && before.values[number] !== one.values[number];
        row.className = changed ? "changed" : "";
        cell.textContent = `0x${one.values[number]}`;
        if (changed) cell.append(` (${words.was} 0x${before.values[number]})`);
      });
    };
    const slider = controls(root, steps().length, show);
    select.addEventListener("change", () => {
      slider.limit(steps().length);
      slider.go(1);
    });
    find(".syntax").addEventListener("click", (event) => {
      intel = !intel;
      event.target.textContent = intel ? words.syntax_att : words.syntax_intel;
      event.target.setAttribute("aria-pressed", String(intel));
      show(now);
    });
    find(".which").hidden = data.cpus.length < 2;
    find(".panel").hidden = false;
    // Begin where the CPU that fails stops; without one, at the first step.
    const failing = data.cpus.findIndex((one) => one.cpu === data.first);
    if (failing >= 0) {
      select.value = failing;
      slider.limit(steps().length);
    }
    slider.go(failing >= 0 ? steps().length : 1);
  }

  function schedule(root) {
    const rows = [...root.querySelectorAll(".schedule-rows tbody tr")];
    const turns = [...root.querySelectorAll(".turn")];
    const show = (step) => {
      for (const [list, name] of [[rows, "now"], [turns, "now"]]) {
        list.forEach((one, at) => one.classList.toggle(name, at === step - 1));
      }
      rows.forEach((one, at) => {
        if (at === step - 1) one.setAttribute("aria-current", "step");
        else one.removeAttribute("aria-current");
      });
      const row = rows[step - 1];
      const box = row.closest(".scroll");
      box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
    };
    controls(root, rows.length, show).go(rows.length);
  }

  document.querySelectorAll(".replay").forEach(replay);
  document.querySelectorAll("#explored.player").forEach(schedule);

  // A link to a boot opens it.
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", open);
  open();
})();
