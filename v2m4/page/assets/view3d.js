// The 3D view of report.html: an animated glTF, its skeleton, and two cameras. THREE is three.min.js.
"use strict";

const View3D = (() => {
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
    // canvas: to draw on, as large as the panel around it. data: of the page. gltf: the animation. bones: the skeleton,
    // or null.
    constructor(canvas, panel, data, gltf, bones) {
      this.panel = panel;
      this.data = data;
      const origin = new THREE.Vector3(...data.origin);
      this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
      this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
      this.renderer.setClearColor(0, 0);
      this.scene = new THREE.Scene();
      this.root = gltf.scene;
      this.pose = poserOf(gltf);
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
      new ResizeObserver(() => this.resize()).observe(this.panel);
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
      const rows = this.data.extrinsics[Math.min(index, this.data.extrinsics.length - 1)].flat();
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
      const seconds = this.data.modelTimes[index];
      this.pose(seconds);
      for (const morph of this.morphs) morph.apply();
      if (this.skeleton) this.skeleton.show(seconds);
      if (this.data.extrinsics.length > 1) this.placeVideoCamera(index);
      this.render();
    }

    setView(mode) {
      this.mode = mode;
      const through = mode === "camera";
      this.controls.enabled = !through;
      this.grid.visible = !through;
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
      const { clientWidth, clientHeight } = this.panel;
      if (!clientWidth || !clientHeight) return;
      this.renderer.setSize(clientWidth, clientHeight, false);
      this.render();
    }

    render() {
      const size = this.panel;
      const width = size.clientWidth;
      const height = size.clientHeight;
      let camera = this.orbitCamera;
      if (this.mode === "camera") {
        // The largest rectangle of the video's shape in the panel, where the picture behind is, too.
        camera = this.videoCamera;
        const shownWidth = Math.min(width, height * this.data.aspect);
        const shownHeight = shownWidth / this.data.aspect;
        this.renderer.setViewport((width - shownWidth) / 2, (height - shownHeight) / 2, shownWidth, shownHeight);
      } else {
        camera.aspect = width / height;
        camera.updateProjectionMatrix();
        this.renderer.setViewport(0, 0, width, height);
      }
      this.renderer.render(this.scene, camera);
    }
  }

  return View;
})();
