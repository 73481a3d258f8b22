// The page of one animation: 3D view and video in step. Reads #data, #model and #bones; view3d.js draws.
"use strict";

(() => {
  const byId = (name) => document.getElementById(name);
  const data = JSON.parse(byId("data").textContent);
  const last = data.names.length - 1;
  const canvas = byId("canvas");
  const message = byId("message");
  const scrubber = byId("scrubber");

  let current = 0; // index of the frame that is shown
  let playing = false;
  let scene3d = null; // the 3D view; null until it is loaded, or without WebGL

  // ---- the video -------------------------------------------------------------------------------------------------

  const pictures = data.pictures.map((uri) => {
    if (!uri) return null;
    const image = new Image();
    image.src = uri;
    return image;
  });
  const pictureOf = (index) => pictures[Math.floor(index / data.step)];

  function showPicture(index) {
    const picture = pictureOf(index);
    byId("frame").hidden = picture === null;
    byId("missing").hidden = picture !== null;
    byId("behind").style.visibility = picture === null ? "hidden" : "visible";
    if (picture === null) return;
    byId("frame").src = picture.src;
    byId("behind").src = picture.src;
  }

  // ---- the frame that is shown -----------------------------------------------------------------------------------

  function show(index) {
    current = Math.min(Math.max(index, 0), last);
    scrubber.value = current;
    byId("label").textContent =
      `frame ${current + 1} of ${last + 1} · ${data.names[current]} · ${data.times[current].toFixed(2)} s`;
    document.documentElement.dataset.frame = current;
    showPicture(current);
    for (const chart of document.querySelectorAll("figure.by-frame svg")) moveCursor(chart);
    if (scene3d) scene3d.show(current);
  }

  // Frames are shown for as long as in the video; the last one for the mean of the others.
  const meanInterval = last > 0 ? data.times[last] / last : 1;
  const duration = (last > 0 ? data.times[last] : 0) + meanInterval;

  function frameAt(seconds) {
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (data.times[middle] <= seconds + 1e-6) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function setPlaying(value) {
    playing = value && last > 0;
    byId("play").textContent = playing ? "pause" : "play";
    byId("play").setAttribute("aria-pressed", String(playing));
    if (!playing) return;
    let clock = data.times[current];
    let before = performance.now();
    const step = (now) => {
      if (!playing) return;
      if (data.times[current] > clock || frameAt(clock) !== current) clock = data.times[current]; // was scrubbed
      clock += ((now - before) / 1000) * Number(byId("speed").value);
      before = now;
      if (clock >= duration) clock %= duration;
      const index = frameAt(clock);
      if (index !== current) show(index);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  byId("play").addEventListener("click", () => setPlaying(!playing));
  scrubber.addEventListener("input", () => show(Number(scrubber.value)));
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, button, summary, a") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight") show(current + 1);
    else if (event.key === "ArrowLeft") show(current - 1);
    else if (event.key === " ") setPlaying(!playing);
    else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("button[data-frame]")) {
    button.addEventListener("click", () => {
      setPlaying(false);
      show(Number(button.dataset.frame));
      byId("viewer").scrollIntoView({ block: "start", behavior: "smooth" });
    });
  }
  for (const index of data.marked) {
    const mark = document.createElement("i");
    mark.style.left = `${last ? (100 * index) / last : 0}%`;
    mark.title = `marked: frame ${data.names[index]}`;
    byId("marks").append(mark);
  }

  // ---- charts ----------------------------------------------------------------------------------------------------

  // The horizontal extent of a chart's plot, in units of its view box, from its grid lines.
  function extent(chart) {
    const grid = chart.querySelector("line.grid");
    return [Number(grid.getAttribute("x1")), Number(grid.getAttribute("x2"))];
  }

  function moveCursor(chart) {
    const [left, right] = extent(chart);
    const x = left + ((right - left) * current) / Math.max(last, 1);
    let cursor = chart.querySelector("line.cursor");
    if (!cursor) {
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
      cursor.setAttribute("class", "cursor");
      cursor.setAttribute("y1", 0);
      cursor.setAttribute("y2", chart.viewBox.baseVal.height - 26);
      chart.append(cursor);
    }
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }

  for (const chart of document.querySelectorAll("figure.by-frame svg")) {
    const scrub = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = chart.getBoundingClientRect();
      const [left, right] = extent(chart);
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      setPlaying(false);
      show(Math.round(((x - left) / (right - left)) * last));
    };
    chart.addEventListener("pointerdown", scrub);
    chart.addEventListener("pointermove", scrub);
  }

  // ---- the 3D view -----------------------------------------------------------------------------------------------

  async function unpacked(name) {
    const text = atob(byId(name).textContent);
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  function checked(name) {
    return document.querySelector(`input[name=${name}]:checked`).value;
  }

  // Through the video's camera the video is behind the mesh, which may be made transparent.
  function setView(view) {
    const through = checked("view") === "camera";
    byId("behind").hidden = !through;
    byId("opacity-field").hidden = !through;
    canvas.style.opacity = through ? byId("opacity").value : 1;
    view.setView(checked("view"));
  }

  function connect(view) {
    for (const input of document.querySelectorAll("input[name=view]")) {
      input.addEventListener("change", () => setView(view));
    }
    for (const input of document.querySelectorAll("input[name=surface]")) {
      input.addEventListener("change", () => view.setSurface(checked("surface")));
    }
    byId("wireframe").addEventListener("change", (event) => view.setWireframe(event.target.checked));
    byId("skeleton").addEventListener("change", (event) => view.setSkeleton(event.target.checked));
    byId("opacity").addEventListener("input", (event) => (canvas.style.opacity = event.target.value));
    byId("reset").addEventListener("click", () => view.reset());
    setView(view); // a browser may restore the state of the controls on reload
    view.setSurface(checked("surface"));
    view.setWireframe(byId("wireframe").checked);
    view.setSkeleton(byId("skeleton").checked);
  }

  async function load() {
    const loader = new THREE.GLTFLoader();
    const model = await loader.parseAsync(await unpacked("model"), "");
    const bones = byId("bones") ? await loader.parseAsync(await unpacked("bones"), "") : null;
    const view = new View3D(canvas, byId("panel"), data, model, bones);
    view.resize();
    connect(view);
    scene3d = view;
    message.hidden = true;
  }

  show(0);
  load()
    .then(() => show(current))
    .catch((error) => {
      message.textContent = `The 3D view cannot be shown: ${error.message}`;
      document.documentElement.dataset.error = error.message;
    })
    .finally(() => (document.documentElement.dataset.ready = "true"));
  window.report = { show, frameAt, render: () => scene3d && scene3d.render() };
})();
