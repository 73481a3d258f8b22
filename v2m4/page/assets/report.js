// The page of one animation: 3D view and video in step. Reads #data, #model and #bones; THREE is three.min.js.
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

  // Numbers of a possibly interleaved and normalised attribute: array, stride, offset and scale.
  function layout(attribute) {
    const interleaved = attribute.isInterleavedBufferAttribute;
    const array = interleaved ? attribute.data.array : attribute.array;
    const scales = { Int8Array: 127, Uint8Array: 255, Int16Array: 32767, Uint16Array: 65535 };
    return {
      array,
      stride: interleaved ? attribute.data.stride : attribute.itemSize,
      offset: interleaved ? attribute.offset : 0,
      scale: attribute.normalized ? 1 / scales[array.constructor.name] : 1,
    };
  }

  // Morph targets are applied here: a shader's limits of targets and uniforms do not hold, and at most two are active.
  class MorphedGeometry {
    constructor(mesh) {
      this.mesh = mesh;
      this.geometry = mesh.geometry = mesh.geometry.clone();
      this.parts = [];
      for (const [name, targets] of Object.entries(this.geometry.morphAttributes)) {
        const rest = this.geometry.getAttribute(name);
        if (!rest || (name !== "position" && name !== "normal")) continue;
        const values = new Float32Array(3 * rest.count);
        for (let row = 0; row < rest.count; row++) {
          values.set([rest.getX(row), rest.getY(row), rest.getZ(row)], 3 * row);
        }
        const shown = new THREE.BufferAttribute(values.slice(), 3);
        this.geometry.setAttribute(name, shown);
        this.parts.push({ rest: values, shown, targets: targets.map(layout) });
      }
      this.geometry.morphAttributes = {};
      this.apply();
    }

    apply() {
      const weights = this.mesh.morphTargetInfluences;
      for (const { rest, shown, targets } of this.parts) {
        shown.array.set(rest);
        targets.forEach(({ array, stride, offset, scale }, target) => {
          const weight = weights[target] * scale;
          if (weight === 0) return;
          const out = shown.array;
          for (let row = 0, from = offset, to = 0; to < out.length; row++, from += stride, to += 3) {
            out[to] += weight * array[from];
            out[to + 1] += weight * array[from + 1];
            out[to + 2] += weight * array[from + 2];
          }
        });
        shown.needsUpdate = true;
      }
    }
  }

  function copyOf(mesh, material) {
    if (!mesh.isSkinnedMesh) return new THREE.Mesh(mesh.geometry, material);
    const copy = new THREE.SkinnedMesh(mesh.geometry, material);
    copy.bind(mesh.skeleton, mesh.bindMatrix);
    return copy;
  }

  // A bone as an octahedron from (0, 0, 0) to (0, 1, 0), widest near its head.
  function boneGeometry() {
    const corners = [0, 0, 0, 0.1, 0.15, 0, 0, 0.15, 0.1, -0.1, 0.15, 0, 0, 0.15, -0.1, 0, 1, 0];
    const faces = [0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 1, 5, 2, 1, 5, 3, 2, 5, 4, 3, 5, 1, 4];
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(corners), 3));
    geometry.setIndex(faces);
    return geometry;
  }

  class Skeleton {
    constructor(gltf, scene) {
      this.root = gltf.scene;
      this.pose = poserOf(gltf);
      this.bones = [];
      this.group = new THREE.Group();
      const geometry = boneGeometry();
      const material = new THREE.MeshBasicMaterial({ color: 0xf08c00, depthTest: false, transparent: true, opacity: 0.8 });
      const edges = new THREE.LineBasicMaterial({ color: 0x5c3a00, depthTest: false, transparent: true });
      this.root.traverse((node) => {
        if (!node.isBone || !node.parent || !node.parent.isBone) return;
        const shape = new THREE.Mesh(geometry, material);
        shape.renderOrder = 1;
        const outline = new THREE.LineSegments(new THREE.WireframeGeometry(geometry), edges);
        outline.renderOrder = 2;
        shape.add(outline);
        this.group.add(shape);
        this.bones.push({ head: node.parent, tail: node, shape });
      });
      scene.add(this.root, this.group);
    }

    show(seconds) {
      this.pose(seconds);
      this.root.updateMatrixWorld(true);
      const head = new THREE.Vector3();
      const tail = new THREE.Vector3();
      const up = new THREE.Vector3(0, 1, 0);
      for (const bone of this.bones) {
        head.setFromMatrixPosition(bone.head.matrixWorld);
        tail.setFromMatrixPosition(bone.tail.matrixWorld).sub(head);
        const length = tail.length();
        bone.shape.visible = length > 0;
        bone.shape.position.copy(head);
        bone.shape.scale.setScalar(length || 1);
        bone.shape.quaternion.setFromUnitVectors(up, tail.normalize());
      }
    }
  }

  // A function that poses a file at a time of its first clip, whose last pose is held; of a still file, one that does
  // nothing.
  function poserOf(gltf) {
    if (!gltf.animations.length) return () => {};
    const mixer = new THREE.AnimationMixer(gltf.scene);
    const action = mixer.clipAction(gltf.animations[0]);
    action.setLoop(THREE.LoopOnce, 1);
    action.clampWhenFinished = true;
    return (seconds) => {
      action.reset().play(); // at the clip's end the action is paused
      mixer.setTime(seconds);
    };
  }

  class View {
    constructor(gltf, bones) {
      this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
      this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
      this.renderer.setClearColor(0, 0);
      this.scene = new THREE.Scene();
      this.root = gltf.scene;
      this.pose = poserOf(gltf);
      const origin = new THREE.Vector3(...data.origin);
      this.root.position.sub(origin);
      this.scene.add(this.root);
      this.scene.add(new THREE.HemisphereLight(0xffffff, 0x777777, 1.6));
      this.meshes = [];
      this.morphs = [];
      this.wires = [];
      this.root.traverse((node) => {
        if (node.isMesh) this.meshes.push(node);
      });
      for (const mesh of this.meshes) this.prepare(mesh);
      this.skeleton = bones ? new Skeleton(bones, this.scene) : null;
      if (this.skeleton) {
        this.skeleton.root.position.sub(origin);
        this.skeleton.group.visible = false;
      }
      this.bounds = new THREE.Box3(new THREE.Vector3(...data.bounds[0]), new THREE.Vector3(...data.bounds[1]));
      this.radius = this.bounds.getSize(new THREE.Vector3()).length() / 2 || 1;
      this.addGrid();
      this.orbitCamera = new THREE.PerspectiveCamera(40, 1, this.radius / 100, this.radius * 100);
      const light = new THREE.DirectionalLight(0xffffff, 1.6);
      light.position.set(0.4, 0.6, 1);
      this.orbitCamera.add(light);
      this.scene.add(this.orbitCamera);
      this.videoCamera = new THREE.PerspectiveCamera((data.fov * 180) / Math.PI, data.aspect, 1, 2);
      this.videoCamera.matrixAutoUpdate = false;
      this.controls = new THREE.OrbitControls(this.orbitCamera, canvas);
      this.controls.addEventListener("change", () => this.render());
      this.mode = "orbit";
      this.reset();
      new ResizeObserver(() => this.resize()).observe(byId("panel"));
    }

    prepare(mesh) {
      mesh.frustumCulled = false;
      if (mesh.morphTargetInfluences && mesh.geometry.morphAttributes.position) {
        this.morphs.push(new MorphedGeometry(mesh));
      }
      const given = mesh.material;
      const side = THREE.DoubleSide;
      const offset = { polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 };
      const materials = {
        texture: new THREE.MeshBasicMaterial({
          ...offset,
          side: given.side,
          map: given.map,
          color: given.color,
          vertexColors: given.vertexColors,
          alphaTest: given.alphaTest,
          transparent: given.transparent,
          opacity: given.opacity,
        }),
        grey: new THREE.MeshLambertMaterial({ ...offset, side, color: 0xb8b8b8, flatShading: !mesh.geometry.hasAttribute("normal") }),
        normals: new THREE.MeshNormalMaterial({ ...offset, side, flatShading: !mesh.geometry.hasAttribute("normal") }),
      };
      mesh.userData.materials = materials;
      mesh.material = materials.texture;
      const wire = copyOf(
        mesh,
        new THREE.MeshBasicMaterial({ wireframe: true, color: 0x1464c8, transparent: true, opacity: 0.55 }),
      );
      wire.frustumCulled = false;
      wire.visible = false;
      mesh.add(wire);
      this.wires.push(wire);
    }

    addGrid() {
      this.grid = new THREE.GridHelper(this.radius * 4, 16, 0x808080, 0x808080);
      this.grid.material.transparent = true;
      this.grid.material.opacity = 0.25;
      const centre = this.bounds.getCenter(new THREE.Vector3());
      this.grid.position.set(centre.x, this.bounds.min.y, centre.z);
      this.scene.add(this.grid);
    }

    // Begin a little to the side of the video's camera, so that the depth is seen.
    reset() {
      const centre = this.bounds.getCenter(new THREE.Vector3());
      this.placeVideoCamera(0);
      const direction = new THREE.Vector3().setFromMatrixPosition(this.videoCamera.matrixWorld).sub(centre).normalize();
      const up = new THREE.Vector3(0, 1, 0);
      direction.applyAxisAngle(up, 0.45);
      direction.y = Math.min(Math.max(direction.y + 0.2, -0.9), 0.9);
      const narrow = Math.min(1, this.orbitCamera.aspect || 1);
      const distance = this.radius / Math.sin((20 * Math.PI) / 180) / narrow;
      this.orbitCamera.position.copy(centre).addScaledVector(direction.normalize(), 0.95 * distance);
      this.controls.target.copy(centre);
      this.controls.update();
    }

    // OpenCV extrinsics (y down, z forward) to the pose of a camera that looks along -z, y up.
    placeVideoCamera(index) {
      const rows = data.extrinsics[Math.min(index, data.extrinsics.length - 1)].flat();
      const camera = this.videoCamera;
      camera.matrix.set(...rows).invert();
      camera.matrix.multiply(new THREE.Matrix4().makeScale(1, -1, -1));
      camera.matrix.decompose(camera.position, camera.quaternion, camera.scale);
      camera.updateMatrixWorld(true);
      const centre = this.bounds.getCenter(new THREE.Vector3());
      const distance = centre.distanceTo(camera.position);
      camera.near = Math.max(distance - 2 * this.radius, distance / 100);
      camera.far = distance + 2 * this.radius;
      camera.updateProjectionMatrix();
    }

    show(index) {
      const seconds = data.modelTimes[index];
      this.pose(seconds);
      for (const morph of this.morphs) morph.apply();
      if (this.skeleton) this.skeleton.show(seconds);
      if (data.extrinsics.length > 1) this.placeVideoCamera(index);
      this.render();
    }

    setView(mode) {
      this.mode = mode;
      const through = mode === "camera";
      this.controls.enabled = !through;
      this.grid.visible = !through;
      byId("behind").hidden = !through;
      byId("opacity-field").hidden = !through;
      canvas.style.opacity = through ? byId("opacity").value : 1;
      this.render();
    }

    setSurface(name) {
      for (const mesh of this.meshes) mesh.material = mesh.userData.materials[name];
      this.render();
    }

    setWireframe(visible) {
      for (const wire of this.wires) wire.visible = visible;
      this.render();
    }

    setSkeleton(visible) {
      if (this.skeleton) this.skeleton.group.visible = visible;
      this.render();
    }

    resize() {
      const { clientWidth, clientHeight } = byId("panel");
      if (!clientWidth || !clientHeight) return;
      this.renderer.setSize(clientWidth, clientHeight, false);
      this.render();
    }

    render() {
      const size = byId("panel");
      const width = size.clientWidth;
      const height = size.clientHeight;
      let camera = this.orbitCamera;
      if (this.mode === "camera") {
        // The largest rectangle of the video's shape in the panel, where the picture behind is, too.
        camera = this.videoCamera;
        const shownWidth = Math.min(width, height * data.aspect);
        const shownHeight = shownWidth / data.aspect;
        this.renderer.setViewport((width - shownWidth) / 2, (height - shownHeight) / 2, shownWidth, shownHeight);
      } else {
        camera.aspect = width / height;
        camera.updateProjectionMatrix();
        this.renderer.setViewport(0, 0, width, height);
      }
      this.renderer.render(this.scene, camera);
    }
  }

  function checked(name) {
    return document.querySelector(`input[name=${name}]:checked`).value;
  }

  function connect(view) {
    for (const input of document.querySelectorAll("input[name=view]")) {
      input.addEventListener("change", () => view.setView(checked("view")));
    }
    for (const input of document.querySelectorAll("input[name=surface]")) {
      input.addEventListener("change", () => view.setSurface(checked("surface")));
    }
    byId("wireframe").addEventListener("change", (event) => view.setWireframe(event.target.checked));
    byId("skeleton").addEventListener("change", (event) => view.setSkeleton(event.target.checked));
    byId("opacity").addEventListener("input", (event) => (canvas.style.opacity = event.target.value));
    byId("reset").addEventListener("click", () => view.reset());
    view.setView(checked("view")); // a browser may restore the state of the controls on reload
    view.setSurface(checked("surface"));
    view.setWireframe(byId("wireframe").checked);
    view.setSkeleton(byId("skeleton").checked);
  }

  async function load() {
    const loader = new THREE.GLTFLoader();
    const model = await loader.parseAsync(await unpacked("model"), "");
    const bones = byId("bones") ? await loader.parseAsync(await unpacked("bones"), "") : null;
    const view = new View(model, bones);
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
